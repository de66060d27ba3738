// SPDX-License-Identifier: Apache-2.0

// Package process runs the programs of the test cluster as children of the test.
//
// It promises that a child never outlives the test, however the test ends: stopped in order when it
// can be, killed by the kernel when the test itself is killed. Output goes to a log file that is
// appended to over restarts, and whoever waits for a child hears at once, with the tail of that log,
// when it has exited. A Process may be killed and started again at any time: that is what the
// crash tests do. A process that ends by itself can be started again as a kubelet would do it, and somebody is told.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"corepin.dev/corepin/test/harness/await"
)

// tailBytes is how much of a log an error quotes.
const tailBytes = 4 << 10

// Command says what to run.
type Command struct {
	Name string   // names the process in messages, and its log file
	Path string   // the binary
	Args []string // without the binary itself
	Env  []string // added to the test's own environment, "KEY=value"
	Dir  string   // working directory; "" = the test's
	Logs string   // folder of the log file; made if missing
	// Ended is told when the process has ended without being asked to, and how. last is the last line of
	// its log. nil tells nobody.
	Ended func(err error, last string)
	// Again is told when the process has ended without being asked to, and why. It is then started again after a second,
	// as a kubelet does. nil leaves it ended.
	Again func(err error)
	// Grace is how long Stop waits between SIGTERM and SIGKILL; 0 means 10 s.
	Grace time.Duration
}

// Process is a started Command. Its methods are safe for concurrent use.
type Process struct {
	command Command

	mu      sync.Mutex
	current *incarnation
	asked   *incarnation // the latest that was asked to end
}

// incarnation is one life of a process: from a start to an exit.
type incarnation struct {
	pid    int
	signal func(os.Signal) error
	exited chan struct{} // closed when the process has been waited for
	err    error         // of Wait; valid once exited is closed
}

// Start runs the command.
func Start(command Command) (*Process, error) {
	if command.Grace == 0 {
		command.Grace = 10 * time.Second
	}
	if err := os.MkdirAll(command.Logs, 0o755); err != nil {
		return nil, fmt.Errorf("making the log folder of %s: %w", command.Name, err)
	}
	p := &Process{command: command}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p, p.start()
}

// start is called with mu held.
func (p *Process) start() error {
	log, err := os.OpenFile(p.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening the log of %s: %w", p.command.Name, err)
	}
	defer log.Close() // the child has its own descriptor
	cmd := exec.Command(p.command.Path, p.command.Args...)
	cmd.Env = append(os.Environ(), p.command.Env...)
	cmd.Dir = p.command.Dir
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own keeps a Ctrl-C at the terminal from reaching the child before Stop does.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := StartTied(cmd); err != nil {
		return fmt.Errorf("starting %s: %w", p.command.Name, err)
	}
	life := &incarnation{pid: cmd.Process.Pid, signal: cmd.Process.Signal, exited: make(chan struct{})}
	go func() {
		life.err = cmd.Wait()
		close(life.exited)
		p.ended(life)
	}()
	p.current = life
	return nil
}

// restartPause is between the end of a supervised process and its next start.
const restartPause = time.Second

// ended starts a process again that ended by itself.
func (p *Process) ended(life *incarnation) {
	if p.wasAsked(life) {
		return
	}
	if p.command.Ended != nil {
		tail := p.LogTail()
		p.command.Ended(exitError(life.err), tail[strings.LastIndexByte(tail, '\n')+1:])
	}
	if p.command.Again == nil {
		return
	}
	p.command.Again(exitError(life.err))
	<-time.After(restartPause)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != life || p.asked == life {
		return
	}
	if err := p.start(); err != nil {
		p.command.Again(err)
	}
}

func (p *Process) wasAsked(life *incarnation) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked == life
}

// ask gives the latest start, and notes that it is asked to end.
func (p *Process) ask() *incarnation {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = p.current
	return p.current
}

var (
	spawnOnce sync.Once
	spawns    = make(chan func())
)

// StartTied starts a command of the caller's own making. The kernel kills it when this process ends, however it ends.
func StartTied(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return spawn(cmd)
}

// CombinedOutput is the command's own, of one that is tied to this process.
func CombinedOutput(cmd *exec.Cmd) ([]byte, error) {
	var output bytes.Buffer
	cmd.Stdout = &output
	cmd.Stderr = &output
	err := StartTied(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	return output.Bytes(), err
}

// spawn starts cmd from a thread that lives as long as this process. Linux sends the parent-death
// signal when the thread that forked ends, and Go may end a thread at any time.
func spawn(cmd *exec.Cmd) error {
	spawnOnce.Do(func() {
		go func() {
			runtime.LockOSThread()
			for f := range spawns {
				f()
			}
		}()
	})
	done := make(chan error)
	spawns <- func() { done <- cmd.Start() }
	return <-done
}

func (p *Process) life() *incarnation {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

// Name is the command's name.
func (p *Process) Name() string { return p.command.Name }

// PID is the process id of the latest start.
func (p *Process) PID() int { return p.life().pid }

// LogFile is the path of the file that has stdout and stderr of every start.
func (p *Process) LogFile() string {
	return filepath.Join(p.command.Logs, p.command.Name+".log")
}

// Exited is closed when the latest start has ended.
func (p *Process) Exited() <-chan struct{} { return p.life().exited }

// Err is how the latest start has ended, once Exited is closed: nil for exit status 0.
func (p *Process) Err() error { return p.life().err }

// Running reports whether the process has not exited.
func (p *Process) Running() bool {
	select {
	case <-p.Exited():
		return false
	default:
		return true
	}
}

// Kill ends the process with SIGKILL, as a crash would, and returns when it is gone. Killing one
// that is gone does nothing.
func (p *Process) Kill() error {
	life := p.ask()
	if err := life.signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing %s (pid %d): %w", p.command.Name, life.pid, err)
	}
	<-life.exited
	return nil
}

// Signal sends a signal to the process, such as SIGSTOP. One that is gone gets none.
func (p *Process) Signal(signal syscall.Signal) error {
	life := p.life()
	err := life.signal(signal)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %v to %s (pid %d): %w", signal, p.command.Name, life.pid, err)
	}
	return nil
}

// Stop asks the process to end with SIGTERM, and kills it when it has not within the grace period:
// that is an error, since a program of ours must stop when asked. Stopping one that is gone does
// nothing.
func (p *Process) Stop() error {
	life := p.ask()
	if err := life.signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping %s (pid %d): %w", p.command.Name, life.pid, err)
	}
	grace := time.NewTimer(p.command.Grace)
	defer grace.Stop()
	select {
	case <-life.exited:
		return nil
	case <-grace.C:
	}
	late := fmt.Errorf("stopping %s (pid %d): still there %s after SIGTERM, killed; its log ends:\n%s", p.command.Name, life.pid, p.command.Grace, p.LogTail())
	return errors.Join(late, p.Kill())
}

// Restart stops the process if it runs and starts the same command again.
func (p *Process) Restart() error {
	if err := p.Stop(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.start()
}

// Await waits until probe returns nil, as await.For does, and gives up early with the tail of the
// log when the process exits.
func (p *Process) Await(ctx context.Context, what string, limit time.Duration, probe func(context.Context) error) error {
	err := await.For(ctx, what, limit, func(ctx context.Context) error {
		if !p.Running() {
			return await.Stop(fmt.Errorf("%s exited (%w)", p.command.Name, exitError(p.life().err)))
		}
		return probe(ctx)
	})
	if err != nil {
		return fmt.Errorf("%w; %s ends:\n%s", err, p.LogFile(), p.LogTail())
	}
	return nil
}

// exitError puts the end of a process in words: nil means it ended with code 0.
func exitError(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// LogTail is the end of the log, from the start of a line, at most 4 KiB; where the log cannot be
// read, the reason for that.
func (p *Process) LogTail() string {
	data, err := os.ReadFile(p.LogFile())
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	if len(data) > tailBytes {
		data = data[len(data)-tailBytes:]
		if line := bytes.IndexByte(data, '\n'); line >= 0 {
			data = data[line+1:]
		}
	}
	return string(bytes.TrimRight(data, "\n"))
}
