// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"

	"corepin.dev/corepin/test/harness/await"
)

// monitor is a connection to QEMU's own control socket, in the protocol QMP.
type monitor struct {
	conn net.Conn
	read *json.Decoder
}

// answer is one line of QEMU's: what a command returned, why it failed, or an event, which has neither.
type answer struct {
	Return json.RawMessage
	Error  *struct{ Desc string }
}

// dial connects to the control socket. QEMU makes it before anything else.
func dial(ctx context.Context, socket string) (*monitor, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("connecting to QEMU: %w", err)
	}
	if until, ok := ctx.Deadline(); ok {
		err = conn.SetDeadline(until)
	}
	q := &monitor{conn: conn, read: json.NewDecoder(conn)}
	var greeting struct{ QMP json.RawMessage }
	if err := errors.Join(err, q.read.Decode(&greeting), q.do("qmp_capabilities", nil, nil)); err != nil {
		conn.Close()
		return nil, fmt.Errorf("greeting QEMU: %w", err)
	}
	return q, nil
}

func (q *monitor) close() error { return q.conn.Close() }

// do runs a command and reads what it returns into result, if there is one.
func (q *monitor) do(command string, arguments map[string]any, result any) error {
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := json.NewEncoder(q.conn).Encode(request); err != nil {
		return fmt.Errorf("telling QEMU to %s: %w", command, err)
	}
	for {
		var line answer
		if err := q.read.Decode(&line); err != nil {
			return fmt.Errorf("reading QEMU's answer to %s: %w", command, err)
		}
		switch {
		case line.Error != nil:
			return fmt.Errorf("QEMU refuses to %s: %s", command, line.Error.Desc)
		case line.Return == nil: // an event
		case result == nil:
			return nil
		default:
			return json.Unmarshal(line.Return, result)
		}
	}
}

// save stops the machine, writes its memory and the state of its devices to a file, and calls copied while the disks
// rest. The machine then goes on, also after an error.
func (q *monitor) save(ctx context.Context, file string, copied func() error) error {
	if err := q.do("stop", nil, nil); err != nil {
		return err
	}
	err := q.do("migrate", map[string]any{"uri": "exec:cat >" + quoted(file)}, nil)
	if err == nil {
		err = q.awaitStatus(ctx, "query-migrate", "completed", "failed")
	}
	if err == nil {
		err = copied()
	}
	return errors.Join(err, q.do("cont", nil, nil))
}

// goOn lets a machine go on that was started with a saved state, once QEMU has read that.
func (q *monitor) goOn(ctx context.Context) error {
	if err := q.awaitStatus(ctx, "query-status", "paused", "internal-error"); err != nil {
		return err
	}
	return q.do("cont", nil, nil)
}

// awaitStatus asks until the status is the wanted one, or the one after which nothing comes.
func (q *monitor) awaitStatus(ctx context.Context, command, want, last string) error {
	return await.For(ctx, "QEMU's state to be "+want, deadline, func(context.Context) error {
		var now struct {
			Status string
			Desc   string `json:"error-desc"`
		}
		if err := q.do(command, nil, &now); err != nil {
			return await.Stop(err)
		}
		switch now.Status {
		case want:
			return nil
		case last:
			return await.Stop(fmt.Errorf("it is %s: %s", now.Status, now.Desc))
		}
		return fmt.Errorf("it is %q", now.Status)
	})
}
