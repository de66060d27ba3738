// SPDX-License-Identifier: Apache-2.0

package quantity

import (
	"strings"
	"testing"

	"corepin.dev/corepin/test/harness/bounds"
)

// endless are texts for which resource.ParseQuantity does not return within hours, or takes the machine's memory.
var endless = []string{"1e-2147483647", "1E2147483648", "2791728e42441073741824", "1e-999", "-.1e+1000"}

func TestParse(t *testing.T) {
	for text, want := range map[string]int64{
		"2": 2000, "1500m": 1500, "-1": -1000, "+.5": 500, "2.": 2000, "1e3": 1_000_000, "1E-3": 1, "2Gi": 2 << 30 * 1000, "1M": 1_000_000_000, "0": 0,
	} {
		q, err := Parse(text)
		if err != nil || q.MilliValue() != want {
			t.Errorf("%q: %d thousandths, want %d (%v)", text, q.MilliValue(), want, err)
		}
	}
	for _, text := range append(endless, "", "m", "1 ", "2GB", "1e", "1..2", "0x10", "1e3Gi", strings.Repeat("9", 41), strings.Repeat("1e9", 100_000)) {
		_, err := Parse(text)
		if err == nil || len(err.Error()) > 200 || !strings.Contains(err.Error(), "is not an amount; write a number such as 2, 1500m or 2Gi") {
			t.Errorf("%.50q: error %.300v", text, err)
		}
	}
}

func TestHasHugeExponent(t *testing.T) {
	for _, text := range endless {
		for _, json := range []string{`{"a":"` + text + `"}`, `{"a": ` + text + `}`, `["` + text + `"]`} {
			if !HasHugeExponent([]byte(json)) {
				t.Errorf("%s: no huge exponent was found", json)
			}
		}
	}
	for _, json := range []string{`{"a":"1e99"}`, `{"a":"2Gi"}`, `{"uid":"1e2147483648-x"}`, `{"image":"x@sha256:1e2147483648f"}`, "", "e", "1e"} {
		if HasHugeExponent([]byte(json)) {
			t.Errorf("%s: a huge exponent was found", json)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range append(endless, "2", "1500m", "2Gi", "1e3") {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		bounds.Within(t, bounds.Parser, text, func() {
			_, err := Parse(text)
			if err == nil && HasHugeExponent([]byte(`"`+text+`"`)) {
				t.Errorf("%q is read, and found to have a huge exponent", text)
			}
		})
	})
}
