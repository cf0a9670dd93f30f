package kdc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"crypto/rand"

	"skyrealm/der"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

const (
	workers   = 16 // requests in flight
	answerIn  = 2 * time.Second
	maxAnswer = 64 << 10
)

// person is a principal of which the generator knows the key.
type person struct {
	name string
	key  etype.Key
}

// tgt is what a client keeps of an AS-REP.
type tgt struct {
	rep     krb5.KDCRep
	session etype.Key
}

// generator makes requests as MIT's client does, each of them new to the server:
// the time in it and its encryption are.
type generator struct {
	realm   string
	service []string
	people  []person
	tgts    []tgt
	nonce   atomic.Uint32
}

func (g *generator) asReq(i int) ([]byte, etype.Key, error) {
	p := &g.people[i%len(g.people)]
	proof, err := p.key.Encrypt(nil, krb5.Encode(krb5.PAEncTSEnc{Time: time.Now().UTC().Truncate(time.Microsecond)}), krb5.UsageASReqTimestamp, rand.Reader)
	if err != nil {
		return nil, etype.Key{}, err
	}
	return krb5.Encode(&krb5.KDCReq{
		MsgType: krb5.MsgASReq,
		PAData: krb5.MethodData{
			{Type: krb5.PAEncTimestamp, Value: krb5.Encode(krb5.EncryptedData{EType: int32(p.key.ID()), Cipher: proof})},
			{Type: krb5.PAReqEncPARep, Value: []byte{}},
		},
		Options: krb5.OptForwardable | krb5.OptRenewableOK,
		CName:   krb5.Principal(krb5.NTPrincipal, p.name),
		Realm:   g.realm,
		SName:   krb5.Principal(krb5.NTSrvInst, "krbtgt", g.realm),
		Till:    time.Now().UTC().Add(8 * time.Hour).Truncate(time.Second),
		Nonce:   int64(g.nonce.Add(1) & 0x7fffffff),
		ETypes:  []int32{18, 17},
	}), p.key, nil
}

type body struct{ *krb5.KDCReq }

func (b body) Marshal(w *der.Writer) { b.MarshalBody(w) }

func (g *generator) tgsReq(i int) ([]byte, error) {
	t := &g.tgts[i%len(g.tgts)]
	q := krb5.KDCReq{
		MsgType: krb5.MsgTGSReq,
		Options: krb5.OptForwardable | krb5.OptCanonicalize,
		Realm:   g.realm,
		SName:   krb5.Principal(krb5.NTSrvInst, g.service...),
		Till:    time.Now().UTC().Add(8 * time.Hour).Truncate(time.Second),
		Nonce:   int64(g.nonce.Add(1) & 0x7fffffff),
		ETypes:  []int32{18, 17},
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	sum := t.session.Checksum(nil, krb5.Encode(body{&q}), krb5.UsageTGSReqChecksum)
	auth, err := t.session.Encrypt(nil, krb5.Encode(&krb5.Authenticator{CRealm: t.rep.CRealm, CName: t.rep.CName, CTime: now,
		Checksum: krb5.Checksum{Type: t.session.ID().ChecksumType(), Value: sum}}), krb5.UsageTGSReqAuthenticator, rand.Reader)
	if err != nil {
		return nil, err
	}
	ap := krb5.APReq{Ticket: t.rep.Ticket, Authenticator: krb5.EncryptedData{EType: int32(t.session.ID()), Cipher: auth}}
	q.PAData = krb5.MethodData{{Type: krb5.PATGSReq, Value: krb5.Encode(&ap)}}
	return krb5.Encode(&q), nil
}

// signIn gets the TGTs that the load on the TGS starts from.
func (g *generator) signIn(addr string, n int) error {
	g.tgts = nil
	for i := range n {
		request, key, err := g.asReq(i)
		if err != nil {
			return err
		}
		answer, err := overTCP(addr, request)
		if err != nil {
			return err
		}
		t := tgt{}
		if err := t.rep.Unmarshal(answer); err != nil {
			return refused(answer)
		}
		plain, err := key.Decrypt(nil, t.rep.EncPart.Cipher, krb5.UsageASRepPart)
		if err != nil {
			return err
		}
		var part krb5.EncKDCRepPart
		if err := part.Unmarshal(plain); err != nil {
			return err
		}
		if t.session, err = etype.NewKey(etype.ID(part.Key.Type), part.Key.Expose()); err != nil {
			return err
		}
		g.tgts = append(g.tgts, t)
	}
	return nil
}

func refused(answer []byte) error {
	var e krb5.Error
	if err := e.Unmarshal(answer); err != nil {
		return errors.New("an answer that is none")
	}
	return e.Code
}

// load is what a server is put under.
type load struct {
	addr string
	tcp  bool
	make func(i int) ([]byte, error)
	want der.Tag // of the answers
	rate int     // requests a second; 0: as many as it can answer
}

// run sends n requests and returns how long it took, and how long each answer did.
func (l *load) run(n int) (time.Duration, []time.Duration, error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	took := make([]time.Duration, n)
	failed := make(chan error, workers)
	began := time.Now()
	for range workers {
		wg.Go(func() {
			if err := l.work(&next, took, began); err != nil {
				failed <- err
			}
		})
	}
	wg.Wait()
	all := time.Since(began)
	select {
	case err := <-failed:
		return 0, nil, err
	default:
	}
	slices.Sort(took)
	return all, took, nil
}

func (l *load) work(next *atomic.Int64, took []time.Duration, began time.Time) error {
	var conn net.Conn
	if !l.tcp {
		var err error
		if conn, err = net.Dial("udp", l.addr); err != nil {
			return err
		}
		defer conn.Close()
	}
	buf := make([]byte, maxAnswer)
	for {
		i := int(next.Add(1)) - 1
		if i >= len(took) {
			return nil
		}
		request, err := l.make(i)
		if err != nil {
			return err
		}
		// Where there is a rate, the clock runs from when the request was due: a
		// server that is late makes those behind it late.
		start := time.Now()
		if l.rate > 0 {
			due := began.Add(time.Duration(i) * time.Second / time.Duration(l.rate))
			for time.Until(due) > 100*time.Microsecond {
				time.Sleep(time.Until(due) - 50*time.Microsecond)
			}
			for time.Now().Before(due) {
				runtime.Gosched()
			}
			start = due
		}
		var answer []byte
		if l.tcp {
			answer, err = overTCP(l.addr, request)
		} else {
			answer, err = overUDP(conn, request, buf)
		}
		if err != nil {
			return err
		}
		took[i] = time.Since(start)
		if der.Tag(answer[0]) != l.want {
			return fmt.Errorf("request %d: %w", i, refused(answer))
		}
	}
}

func overUDP(conn net.Conn, request, buf []byte) ([]byte, error) {
	for range 3 {
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		if err := conn.SetReadDeadline(time.Now().Add(answerIn)); err != nil {
			return nil, err
		}
		n, err := conn.Read(buf)
		if err == nil {
			return buf[:n], nil
		}
		if t, ok := errors.AsType[net.Error](err); !ok || !t.Timeout() {
			return nil, err
		}
	}
	return nil, errors.New("three requests without an answer")
}

// overTCP is a connection for one request, as kinit makes one.
func overTCP(addr string, request []byte) ([]byte, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// No TIME_WAIT: tens of thousands of connections would use up the ports.
	_ = conn.(*net.TCPConn).SetLinger(0)
	if err := conn.SetDeadline(time.Now().Add(answerIn)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(request))), request...)); err != nil {
		return nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxAnswer {
		return nil, fmt.Errorf("an answer of %d bytes", n)
	}
	answer := make([]byte, n)
	_, err = io.ReadFull(conn, answer)
	return answer, err
}
