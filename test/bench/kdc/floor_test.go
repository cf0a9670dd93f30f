package kdc

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"skyrealm/der"
	"skyrealm/krb5"
)

// floor is the least that any server costs: it reads each request and sends a reply of the
// usual length that it has ready, with one blocking call of the kernel for each step.
//
// It is asked what another server is asked.
func floor(b *testing.B, as *server) *server {
	b.Helper()
	exe, err := os.Executable()
	must(b, err)
	port := freePort(b)
	pid := daemon(b, []string{fmt.Sprintf("%s=%d", floorPort, port)}, port, exe)
	return &server{"floor", addr(port), pid, as.gen}
}

// floorPort is the variable of the environment that makes the benchmark's program the server.
const floorPort = "SKYREALM_FLOOR_PORT"

func serveFloor(port int) error {
	at := &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err == nil {
		err = unix.Bind(udp, at)
	}
	if err != nil {
		return err
	}
	tcp, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err == nil {
		err = unix.SetsockoptInt(tcp, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = unix.Bind(tcp, at)
	}
	if err == nil {
		err = unix.Listen(tcp, 4096)
	}
	if err != nil {
		return err
	}
	go func() {
		request, reply := make([]byte, maxAnswer), ready()
		for {
			n, from, err := unix.Recvfrom(udp, request, 0)
			if err == nil && n > 0 {
				_ = unix.Sendto(udp, reply(request[0])[4:], 0, from)
			}
		}
	}()
	request, reply := make([]byte, maxAnswer), ready()
	for {
		c, _, err := unix.Accept4(tcp, unix.SOCK_CLOEXEC)
		if err != nil {
			continue
		}
		if n, err := unix.Read(c, request); err == nil && n > 4 {
			_, _ = unix.Write(c, reply(request[4]))
		}
		_ = unix.Close(c)
	}
}

// ready returns what gives the reply to a request that begins with tag, in its frame for TCP.
func ready() func(tag byte) []byte {
	canned := func(kind, n int) []byte {
		reply := append([]byte{0, 0, byte(n >> 8), byte(n)}, make([]byte, n)...)
		reply[4] = byte(der.Application(kind))
		return reply
	}
	as, tgs := canned(krb5.MsgASRep, 1680), canned(krb5.MsgTGSRep, 1600)
	return func(tag byte) []byte {
		if tag == byte(der.Application(krb5.MsgASReq)) {
			return as
		}
		return tgs
	}
}
