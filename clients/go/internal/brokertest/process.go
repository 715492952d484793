// Package brokertest starts real brokers and what they need, for the tests of this repository. Users' tests have
// lockbrokertest.
package brokertest

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Soon is longer than anything takes that a test waits for.
const Soon = 20 * time.Second

// Process is a program under test. It is killed when the test ends.
type Process struct {
	t     testing.TB
	cmd   *exec.Cmd
	Stdin io.WriteCloser
	mu    sync.Mutex
	lines []string
	// exited is closed when it has ended.
	exited chan struct{}
}

// Start starts a program, and keeps what it prints.
func Start(t testing.TB, environment []string, program string, arguments ...string) *Process {
	t.Helper()
	cmd := exec.Command(program, arguments...)
	cmd.Env = append(os.Environ(), environment...)
	cmd.SysProcAttr = diesWithTests
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = writer, writer
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	process := &Process{t: t, cmd: cmd, Stdin: stdin, exited: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	go process.read(reader)
	go func() {
		_ = cmd.Wait()
		close(process.exited)
	}()
	t.Cleanup(func() {
		process.Signal(syscall.SIGCONT)
		process.Kill()
		<-process.exited
		if t.Failed() {
			t.Logf("%s %q printed:\n%s", program, arguments, process.text())
		}
	})
	return process
}

func (p *Process) read(reader *os.File) {
	defer reader.Close()
	lines := bufio.NewScanner(reader)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, lines.Text())
		p.mu.Unlock()
	}
}

func (p *Process) text() (text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range p.lines[max(0, len(p.lines)-40):] {
		text += "    " + line + "\n"
	}
	return text
}

// Line waits for a line that find likes, and returns what find makes of it. It fails the test if the process ends first.
func (p *Process) Line(find func(line string) (string, bool)) string {
	p.t.Helper()
	var found string
	hasEnded := false
	Eventually(p.t, "a line that is waited for", func() bool {
		p.mu.Lock()
		for _, line := range p.lines {
			if text, ok := find(line); ok {
				found = text
				p.mu.Unlock()
				return true
			}
		}
		p.mu.Unlock()
		if hasEnded {
			p.t.Fatalf("it has ended: %v\n%s", p.cmd.ProcessState, p.text())
		}
		select {
		case <-p.exited:
			hasEnded = true
		default:
		}
		return false
	})
	return found
}

// Signal sends a signal.
func (p *Process) Signal(signal syscall.Signal) { _ = p.cmd.Process.Signal(signal) }

// Kill kills it at once.
func (p *Process) Kill() { p.Signal(syscall.SIGKILL) }

// Wait waits until it has ended, and returns its exit code.
func (p *Process) Wait() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(Soon):
		p.t.Fatal("it does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// Eventually waits until is holds, and fails the test if that takes too long.
func Eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if is() {
			return
		}
		if time.Since(begun) > Soon {
			t.Fatalf("not within %v: %s", Soon, what)
		}
	}
}
