// SPDX-License-Identifier: Apache-2.0

// Package policy tests the repository itself: the rules that keep it readable and its promises true,
// each as a test that names the file and says what to do.
//
// A rule is a function from the files of the tree to a list of violations. It looks at nothing else, so
// that every rule is also run over files that break it (selftest_test.go): a rule that cannot fail is
// not a rule. Exceptions stand in the rule's own table with their reason, and an exception that is no
// longer needed fails.
package policy
