//go:build !linux

package kdc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

// udpBatch is one where there is no call for more.
const udpBatch = 1

// serveUDP is one of several readers of the same socket.
func (s *Server) serveUDP(ctx context.Context, _ bool) error {
	buf := make([]byte, MaxUDPRequest) // a longer datagram is cut, and so malformed
	for failures := 0; ; {
		n, from, err := s.udp.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, net.ErrClosed), isTimeout(err):
			return nil
		case err != nil:
			if failures++; failures == 100 {
				return fmt.Errorf("kdc: udp: %w", err)
			}
			continue
		}
		failures = 0
		if reply := s.Handle(ctx, buf[:n], from, false); reply != nil {
			// A reply that does not get through is one that got lost: the client
			// asks again.
			_, _ = s.udp.WriteToUDPAddrPort(reply, from)
		}
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// serveQuick is acceptTCP where there is nothing quicker.
func (s *Server) serveQuick(ctx context.Context, conns *sync.WaitGroup) error {
	return s.acceptTCP(ctx, conns)
}
