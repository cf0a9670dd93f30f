package network

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// relay passes datagrams and connections on to a service. It loses some of the
// datagrams, of either direction, and notes the requests.
type relay struct {
	addr, to string
	loss     float64
	lost     atomic.Int64
	streams  atomic.Int64

	mu       sync.Mutex
	rand     *rand.Rand
	requests [][]byte
}

func newRelay(t *testing.T, to string, loss float64) *relay {
	t.Helper()
	r := &relay{to: to, loss: loss, rand: rand.New(rand.NewPCG(1, 2))}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	at, err := net.ListenPacket("udp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() { l.Close(); at.Close(); running.Wait() })
	running.Go(func() { r.datagrams(at, &running) })
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.streams.Add(1)
			running.Go(func() { r.stream(c) })
		}
	})
	return r
}

func (r *relay) loses() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rand.Float64() >= r.loss {
		return false
	}
	r.lost.Add(1)
	return true
}

// datagrams gives each client a socket of its own towards the service, by which
// answers find back.
func (r *relay) datagrams(at net.PacketConn, running *sync.WaitGroup) {
	clients := map[string]net.Conn{}
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, from, err := at.ReadFrom(buf)
		if err != nil {
			return
		}
		if r.loses() {
			continue
		}
		r.note(buf[:n])
		c := clients[from.String()]
		if c == nil {
			if c, err = net.Dial("udp", r.to); err != nil {
				return
			}
			clients[from.String()] = c
			running.Go(func() {
				buf := make([]byte, 64<<10)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					if !r.loses() {
						_, _ = at.WriteTo(buf[:n], from)
					}
				}
			})
		}
		_, _ = c.Write(buf[:n])
	}
}

func (r *relay) stream(c net.Conn) {
	defer c.Close()
	to, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		defer to.Close()
		for {
			b := make([]byte, 4)
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			b = append(b, make([]byte, min(binary.BigEndian.Uint32(b), 64<<10))...)
			if _, err := io.ReadFull(c, b[4:]); err != nil {
				return
			}
			r.note(b[4:])
			if _, err := to.Write(b); err != nil {
				return
			}
		}
	}()
	_, _ = io.Copy(c, to)
}

func (r *relay) note(request []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, slices.Clone(request))
}

// recorded are the requests that have come through so far.
func (r *relay) recorded() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}
