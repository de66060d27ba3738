// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The procedures that are called (enum remote_procedure in libvirt's src/remote/remote_protocol.x, 9.0).
const (
	procConnectOpen           = 1
	procDomainGetXMLDesc      = 14
	procDomainGetVcpus        = 20
	procDomainPinVcpu         = 26
	procAuthList              = 66
	procAuthPolkit            = 70
	procDomainGetState        = 212
	procConnectListAllDomains = 273
	procDomainPinEmulator     = 279
	procDomainGetJobStats     = 298
	procEventRegisterAny      = 316
	procConnectGetAllStats    = 344
	procDomainGetIOThreadInfo = 351
	procDomainPinIOThread     = 352
)

// Bounds of what libvirt may answer, in bytes.
const (
	maxXML     = 256 << 10
	maxName    = 512     // of a domain, whose name is a file's name to libvirt
	maxMessage = 8 << 10 // of an error
	maxMap     = 512     // of an IO thread's CPU map, which has a bit for each CPU of the host
	maxList    = 64 << 10
	maxParams  = 32 << 10
	maxError   = 32 << 10 // libvirt repeats parts of the message
	// perVCPU and perIOThread are the bytes of one vCPU or IO thread, its CPU map included.
	perVCPU     = 20 + mapLength
	perIOThread = 8 + maxMap
	// perVCPUStats is more than the statistics of one vCPU take: some fifty of less than sixty bytes.
	perVCPUStats = 4 << 10
)

// answer is what libvirt may answer to a procedure.
type answer struct {
	// size bounds the bytes after the header. perThread is added for each thread that the guest may have.
	size, perThread int
	parts           []part
	// trim, where it is set, gives a checked payload without what is not used. go-libvirt makes objects of all the rest.
	trim func(payload []byte) []byte
}

// answers are the answers to all procedures that are called, as remote_protocol.x defines them.
var answers = map[uint32]answer{
	procConnectOpen:           {},
	procDomainPinVcpu:         {},
	procDomainPinEmulator:     {},
	procDomainPinIOThread:     {},
	procAuthPolkit:            {size: 4, parts: []part{words(1)}},
	procEventRegisterAny:      {size: 4, parts: []part{words(1)}},
	procDomainGetState:        {size: 8, parts: []part{words(2)}},
	procAuthList:              {size: 84, parts: []part{list(words(1))}}, // REMOTE_AUTH_TYPE_LIST_MAX is 20
	procConnectListAllDomains: {size: maxList, parts: []part{list(opaque(maxName), words(5)), words(1)}},
	procDomainGetXMLDesc:      {size: 4 + maxXML, parts: []part{opaque(maxXML)}},
	procDomainGetVcpus:        {size: 8, perThread: perVCPU, parts: []part{list(words(5)), rest}},
	procDomainGetIOThreadInfo: {size: 8, perThread: perIOThread, parts: []part{list(words(1), opaque(maxMap)), words(1)}},
	procConnectGetAllStats:    {size: 1 << 10, perThread: perVCPUStats, parts: []part{list(opaque(maxName), words(5), list(parameter))}, trim: onlyWaits},
	procDomainGetJobStats:     {size: maxParams, parts: []part{words(1), list(parameter)}},
}

// refusal is the answer to a call that failed, as far as go-libvirt reads it: code, domain, and a message that it
// takes to be there always. It takes code 0 for success, and would then read the refusal as an answer.
var refusal = answer{size: maxError, parts: []part{failure, words(2), opaque(maxMessage)}}

// check compares every length and count in a payload with what the payload still holds. go-libvirt believes them
// before it has read what follows, and allocates as much.
func (a answer) check(payload []byte) error {
	var err error
	for _, part := range a.parts {
		if payload, err = part(payload); err != nil {
			return err
		}
	}
	return nil
}

// trimmed gives a checked frame without what is not used of it.
func (a answer) trimmed(frame []byte) []byte {
	if a.trim == nil {
		return frame
	}
	frame = append(frame[:headerSize], a.trim(frame[headerSize:])...)
	binary.BigEndian.PutUint32(frame, uint32(len(frame)))
	return frame
}

// part reads one part of an XDR payload (RFC 4506) and gives the rest.
type part func(payload []byte) (rest []byte, err error)

var errShort = errors.New("a length or count is greater than what follows")

const wordSize = 4

// words is a number of words of four bytes.
func words(n int) part {
	return func(payload []byte) ([]byte, error) {
		if len(payload) < n*wordSize {
			return nil, errShort
		}
		return payload[n*wordSize:], nil
	}
}

// opaque is a string or opaque data of a length that is given before it, padded to whole words.
func opaque(limit int) part {
	return func(payload []byte) ([]byte, error) {
		length, payload, err := number(payload)
		if err != nil {
			return nil, err
		}
		if int64(length) > int64(limit) {
			return nil, fmt.Errorf("%d bytes where at most %d are read", length, limit)
		}
		padded := (int(length) + wordSize - 1) / wordSize * wordSize
		if padded > len(payload) {
			return nil, errShort
		}
		return payload[padded:], nil
	}
}

// rest is opaque data that is bounded by the size of the answer only.
func rest(payload []byte) ([]byte, error) { return opaque(len(payload))(payload) }

// list is a list of elements, whose number is given before them. Every element has at least one word, so the number
// of steps is bounded by the payload.
func list(element ...part) part {
	return func(payload []byte) ([]byte, error) {
		count, payload, err := number(payload)
		if err != nil {
			return nil, err
		}
		for range count {
			for _, part := range element {
				if payload, err = part(payload); err != nil {
					return nil, err
				}
			}
		}
		return payload, nil
	}
}

// parameter is a remote_typed_param: a name, and a value of a kind that is given before it.
func parameter(payload []byte) ([]byte, error) {
	payload, err := opaque(maxName)(payload)
	if err != nil {
		return nil, err
	}
	kind, payload, err := number(payload)
	if err != nil {
		return nil, err
	}
	switch kind {
	case 1, 2, 6: // int, unsigned int, boolean
		return words(1)(payload)
	case 3, 4, 5: // long, unsigned long, double
		return words(2)(payload)
	case 7:
		return opaque(maxMessage)(payload)
	default:
		return nil, fmt.Errorf("a parameter of unknown kind %d", kind)
	}
}

// failure is the code of an error.
func failure(payload []byte) ([]byte, error) {
	code, payload, err := number(payload)
	if err == nil && code == 0 {
		err = errors.New("an error with code 0")
	}
	return payload, err
}

func number(payload []byte) (uint32, []byte, error) {
	if len(payload) < wordSize {
		return 0, nil, errShort
	}
	return binary.BigEndian.Uint32(payload), payload[wordSize:], nil
}
