//go:build !linux

package brokertest

import "syscall"

var diesWithTests *syscall.SysProcAttr
