// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"corepin.dev/corepin/manifests"
)

// That of Debian 12 compiles them. Its features are those of the profiles' own ABI, also on a kernel without AppArmor.
func TestAppArmorProfilesCompile(t *testing.T) {
	parser, err := exec.LookPath("apparmor_parser")
	if err != nil {
		parser, err = exec.LookPath("/usr/sbin/apparmor_parser")
	}
	if err != nil {
		if os.Getenv("COREPIN_REQUIRE_ALL") == "1" {
			t.Fatalf("apparmor_parser is missing, and COREPIN_REQUIRE_ALL=1 does not allow to skip; run hack/setup.sh test: %v", err)
		}
		t.Skipf("SKIPPED: %v; install Debian's package apparmor", err)
	}
	compile := func(text []byte) error {
		file := filepath.Join(t.TempDir(), "profile")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		// Neither loaded into the kernel nor cached.
		out, err := exec.Command(parser, "-Q", "-K", "-M", "/etc/apparmor.d/abi/3.0", file).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	for _, name := range []string{"corepin-agent", "corepin-scheduler"} {
		text, err := fs.ReadFile(manifests.FS, profiles+"/"+name)
		if err != nil {
			t.Fatal(err)
		}
		if err := compile(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := compile([]byte(strings.Replace(string(text), "network inet stream", "network inet steam", 1))); err == nil {
			t.Errorf("%s with a mistake is compiled", name)
		}
	}
}
