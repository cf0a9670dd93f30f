package kdc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// udpBatch is how many datagrams are taken from the socket and given back to it with
// one call each, at most. Under load that halves the calls; without load a batch is one.
const udpBatch = 16

// mmsghdr is the kernel's struct of that name (recvmmsg(2)); the compiler adds the
// padding that C does.
type mmsghdr struct {
	unix.Msghdr
	n uint32 // bytes received or sent
}

// datagrams is one reader's room for a batch. What the kernel writes to has one place for
// as long as the reader runs.
type datagrams struct {
	in, out     []mmsghdr
	inAt, outAt []unix.Iovec
	from        []unix.RawSockaddrInet6 // or …Inet4, which is shorter
	room        [][MaxUDPRequest]byte   // a longer datagram is cut, and so malformed
	n           int                     // answers in out
}

func newDatagrams(n int) *datagrams {
	d := &datagrams{
		in: make([]mmsghdr, n), out: make([]mmsghdr, n), inAt: make([]unix.Iovec, n), outAt: make([]unix.Iovec, n),
		from: make([]unix.RawSockaddrInet6, n), room: make([][MaxUDPRequest]byte, n),
	}
	for i := range d.in {
		d.inAt[i].Base = &d.room[i][0]
		d.inAt[i].SetLen(MaxUDPRequest)
		d.in[i].Iov, d.out[i].Iov = &d.inAt[i], &d.outAt[i]
		d.in[i].SetIovlen(1)
		d.out[i].SetIovlen(1)
		d.in[i].Name = (*byte)(unsafe.Pointer(&d.from[i]))
	}
	return d
}

// serveUDP is one of several readers of the same socket. The first waits for datagrams; the
// others sleep until one of them had more than it can take at once, and help until there is
// no more: to wake a reader for each datagram costs nearly what it takes to answer one.
func (s *Server) serveUDP(ctx context.Context, first bool) error {
	socket, err := s.udp.SyscallConn()
	if err != nil {
		return fmt.Errorf("kdc: udp: %w", err)
	}
	d := newDatagrams(s.batch)
	var got int
	var errno unix.Errno
	receive := func(fd uintptr) (done bool) {
		for i := range d.in {
			d.in[i].Namelen = unix.SizeofSockaddrInet6
		}
		got, errno = call(unix.SYS_RECVMMSG, fd, &d.in[0], len(d.in))
		return errno != unix.EAGAIN
	}
	help := func(fd uintptr) { receive(fd) }
	send := func(fd uintptr) (done bool) { d.send(fd); return true }
	for failures := 0; ; {
		if first {
			err = socket.Read(receive)
		} else {
			if got < s.batch {
				select {
				case <-s.crowd:
				case <-s.stopping:
					return nil
				}
			}
			err = socket.Control(help)
		}
		switch {
		case errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return fmt.Errorf("kdc: udp: %w", err)
		case errno != 0:
			got = 0
			// An ICMP error of an earlier reply can come back here, and is no
			// fault of the socket; a hundred in a row are.
			if failures++; first && failures == 100 {
				return fmt.Errorf("kdc: udp: %w", errno)
			}
			continue
		}
		failures = 0
		if got == s.batch {
			callHelp(s.crowd)
		}
		d.n = 0
		for i := range got {
			d.reply(i, s.Handle(ctx, d.room[i][:d.in[i].n], d.sender(i), false))
		}
		_ = socket.Write(send) // a closed socket is seen by the next read
		clear(d.outAt[:d.n])   // replies are not kept
	}
}

// callHelp wakes one of the readers that sleep, if there is one.
func callHelp(crowd chan<- struct{}) {
	select {
	case crowd <- struct{}{}:
	default:
	}
}

// reply puts the answer to datagram i among those to send.
func (d *datagrams) reply(i int, reply []byte) {
	if len(reply) == 0 {
		return
	}
	d.outAt[d.n].Base = &reply[0]
	d.outAt[d.n].SetLen(len(reply))
	d.out[d.n].Name, d.out[d.n].Namelen = d.in[i].Name, d.in[i].Namelen
	d.n++
}

// send gives the answers to the kernel.
func (d *datagrams) send(fd uintptr) {
	for at := 0; at < d.n; {
		n, errno := call(unix.SYS_SENDMMSG, fd, &d.out[at], d.n-at)
		switch errno {
		case 0:
			at += n
		case unix.EAGAIN:
			// The kernel's buffers are full. What is left is as good as lost on
			// the way: the clients ask again.
			return
		default:
			at++ // the first of them can't be sent
		}
	}
}

// call is recvmmsg or sendmmsg on n messages; the socket does not block.
func call(trap, fd uintptr, first *mmsghdr, n int) (int, unix.Errno) {
	for {
		done, _, errno := unix.Syscall6(trap, fd, uintptr(unsafe.Pointer(first)), uintptr(n), 0, 0, 0)
		if errno != unix.EINTR {
			return int(done), errno
		}
	}
}

// sender is whom the datagram i came from.
func (d *datagrams) sender(i int) netip.AddrPort {
	from := &d.from[i]
	if from.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(from))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), netPort(&v4.Port))
	}
	return netip.AddrPortFrom(netip.AddrFrom16(from.Addr).Unmap(), netPort(&from.Port))
}

// netPort reads a port, which is in the network's order of bytes.
func netPort(p *uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(p))
	return uint16(b[0])<<8 | uint16(b[1])
}
