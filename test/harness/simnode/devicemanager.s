// This file has no code. A package with a function without a body, as devicemanager.go has, needs one of its kind.
