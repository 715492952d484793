package brokertest

import "syscall"

// diesWithTests makes a process end when the tests do.
var diesWithTests = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
