package difftest

import "testing"

// TestScenarioText makes sure that what is printed of a failure can be read back.
func TestScenarioText(t *testing.T) {
	for at := range uint64(400) {
		text := newDice(at).scenario(at%2 == 1).String()
		again, err := parseScenario(text)
		if err != nil {
			t.Fatalf("seed %d: %v in\n%s", at, err, text)
		}
		if again.String() != text {
			t.Fatalf("seed %d: printed\n%s\nread back as\n%s", at, text, again)
		}
	}
}
