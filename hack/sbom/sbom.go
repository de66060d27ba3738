// SPDX-License-Identifier: Apache-2.0

// Package sbom lists what a Go program is made of, as an SPDX document.
//
// The linker writes into each program which modules it was built from, in which versions. So the list is read from the
// program itself, and holds for exactly these bytes. The same program gives the same document.
package sbom

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// unknown is SPDX's word for what nobody has looked into.
const unknown = "NOASSERTION"

// Of is the document of the program in file, in JSON. version is the program's own, created the time of its commit in RFC 3339.
func Of(file, version, created string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	info, err := buildinfo.Read(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("reading what %s was built from: %w", file, err)
	}
	name := filepath.Base(file)
	sum := fmt.Sprintf("%x", sha256.Sum256(data))
	program := &spdx.Package{
		PackageName:             name,
		PackageSPDXIdentifier:   "Program",
		PackageVersion:          version,
		PackageDownloadLocation: unknown,
		PackageChecksums:        []common.Checksum{{Algorithm: common.SHA256, Value: sum}},
		PackageLicenseDeclared:  "Apache-2.0",
		PackageLicenseConcluded: unknown,
		PackageCopyrightText:    unknown,
		PrimaryPackagePurpose:   "APPLICATION",
	}
	document := &spdx.Document{
		SPDXVersion:       spdx.Version,
		DataLicense:       spdx.DataLicense,
		SPDXIdentifier:    "DOCUMENT",
		DocumentName:      name,
		DocumentNamespace: "https://corepin.dev/spdx/" + name + "-" + sum,
		CreationInfo:      &spdx.CreationInfo{Created: created, Creators: []common.Creator{{CreatorType: "Tool", Creator: "corepin-hack-sbom"}}},
		Packages:          []*spdx.Package{program},
		Relationships:     []*spdx.Relationship{relation("DOCUMENT", "DESCRIBES", "Program")},
	}
	modules := append([]*debug.Module{{Path: "stdlib", Version: info.GoVersion}}, info.Deps...)
	for i, m := range modules {
		if m.Replace != nil {
			m = m.Replace
		}
		id := common.ElementID(fmt.Sprintf("Module-%d", i))
		document.Packages = append(document.Packages, module(id, m))
		document.Relationships = append(document.Relationships, relation("Program", "CONTAINS", id))
	}
	var out bytes.Buffer
	err = json.Write(document, &out, json.Indent(" "))
	return out.Bytes(), err
}

func module(id common.ElementID, m *debug.Module) *spdx.Package {
	p := &spdx.Package{
		PackageName:             m.Path,
		PackageSPDXIdentifier:   id,
		PackageVersion:          m.Version,
		PackageDownloadLocation: unknown,
		PackageLicenseDeclared:  unknown,
		PackageLicenseConcluded: unknown,
		PackageCopyrightText:    unknown,
		PackageComment:          m.Sum, // as go.sum has it
		PackageExternalReferences: []*spdx.PackageExternalReference{{
			Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: "pkg:golang/" + m.Path + "@" + m.Version,
		}},
	}
	return p
}

func relation(of common.ElementID, kind string, to common.ElementID) *spdx.Relationship {
	return &spdx.Relationship{RefA: common.MakeDocElementID("", string(of)), RefB: common.MakeDocElementID("", string(to)), Relationship: kind}
}
