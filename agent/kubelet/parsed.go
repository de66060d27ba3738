// SPDX-License-Identifier: Apache-2.0

package kubelet

import "hash/maphash"

// parsedFiles are the kubelet's files as last parsed. They are read every Options.Reread, since a notification may be lost,
// and nearly always say what they said before.
type parsedFiles struct {
	checkpoint parsed[Checkpoint]
	memory     parsed[Memory]
	config     parsed[Config]
}

func newParsedFiles(seed maphash.Seed) parsedFiles {
	return parsedFiles{
		checkpoint: parsed[Checkpoint]{parser: ParseCheckpoint, seed: seed},
		memory:     parsed[Memory]{parser: ParseMemory, seed: seed},
		config:     parsed[Config]{parser: ParseConfig, seed: seed},
	}
}

// parsed is one file's value, by the file's content.
type parsed[T any] struct {
	parser  func([]byte) (T, error)
	seed    maphash.Seed
	known   bool // value is that of a content with the fingerprint content
	content uint64
	value   T
}

// parse parses the content of the file, unless it is the one that was parsed last. Content that cannot be parsed is parsed
// each time.
func (p *parsed[T]) parse(data []byte) (T, error) {
	content := maphash.Bytes(p.seed, data)
	if p.known && content == p.content {
		return p.value, nil
	}
	value, err := p.parser(data)
	p.known = err == nil
	p.content = content
	p.value = value
	return value, err
}
