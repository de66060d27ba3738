// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// ExitError is a command in the machine that ran and failed.
type ExitError struct {
	Command string
	Code    int
	Output  string
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("running %s: exit status %d: %s", e.Command, e.Code, strings.TrimSpace(e.Output))
}

// Run runs a command in the machine as root and returns what it wrote, standard error included. A command
// that fails is an *ExitError.
func (m *Machine) Run(ctx context.Context, command ...string) (string, error) {
	return m.RunInput(ctx, nil, command...)
}

// Shell runs a script of the machine's sh; see Run. The first command that fails ends it.
func (m *Machine) Shell(ctx context.Context, script string) (string, error) {
	return m.RunInput(ctx, strings.NewReader(script), "sh", "-e")
}

// RunInput is Run with a standard input.
func (m *Machine) RunInput(ctx context.Context, input io.Reader, command ...string) (string, error) {
	answer, err := m.ask(ctx, http.MethodPost, "/run", url.Values{"arg": command}, input)
	name := strings.Join(command, " ")
	if err != nil {
		return "", fmt.Errorf("running %s in machine %s: %w", name, m.options.Name, err)
	}
	var result struct {
		Output string
		Code   int
	}
	if err := json.Unmarshal(answer, &result); err != nil {
		return "", fmt.Errorf("running %s in machine %s: reading the answer: %w", name, m.options.Name, err)
	}
	if result.Code != 0 {
		return result.Output, &ExitError{Command: name, Code: result.Code, Output: result.Output}
	}
	return result.Output, nil
}

// WriteFile writes a file in the machine, whole or not at all, and makes its folders.
func (m *Machine) WriteFile(ctx context.Context, path string, mode os.FileMode, content []byte) error {
	parameters := url.Values{"path": {path}, "mode": {strconv.FormatUint(uint64(mode), 8)}}
	if _, err := m.ask(ctx, http.MethodPut, "/file", parameters, bytes.NewReader(content)); err != nil {
		return fmt.Errorf("writing %s in machine %s: %w", path, m.options.Name, err)
	}
	return nil
}

// ReadFile reads a file of the machine. One that is not there is os.ErrNotExist.
func (m *Machine) ReadFile(ctx context.Context, path string) ([]byte, error) {
	content, err := m.ask(ctx, http.MethodGet, "/file", url.Values{"path": {path}}, nil)
	if err != nil {
		return nil, fmt.Errorf("reading %s in machine %s: %w", path, m.options.Name, err)
	}
	return content, nil
}

// inside keeps no connection: a reset of the machine would leave dead ones, which are found out late.
var inside = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// ask puts a question to machined. QEMU itself takes connections for a machine that stands still, so that each
// question has a deadline of its own.
func (m *Machine) ask(ctx context.Context, method, path string, parameters url.Values, body io.Reader) ([]byte, error) {
	within, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	answer, err := m.answer(within, method, path, parameters, body)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("no answer within %s: %w; its console %s ends:\n%s", deadline, err, m.path("console.log"), m.consoleTail())
	}
	return answer, err
}

func (m *Machine) answer(ctx context.Context, method, path string, parameters url.Values, body io.Reader) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+m.commands+path+"?"+parameters.Encode(), body)
	if err != nil {
		return nil, err
	}
	response, err := inside.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", strings.TrimSpace(string(answer)), os.ErrNotExist)
	case response.StatusCode != http.StatusOK:
		return nil, errors.New(strings.TrimSpace(string(answer)))
	}
	return answer, nil
}
