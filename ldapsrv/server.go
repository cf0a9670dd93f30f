package ldapsrv

import (
	"crypto/tls"
	"log/slog"
	"sync/atomic"
	"time"

	"skyrealm/domain"
)

// Server answers LDAP for one domain. Its fields are set before the first Serve
// and not changed; all are required unless they say otherwise.
type Server struct {
	Replica *domain.Replica
	// Directory takes writes; nil refuses them all.
	Directory *domain.Directory
	// TLS is the server's certificate for StartTLS and LDAPS; nil has neither.
	TLS     *tls.Config
	Now     func() time.Time
	Log     *slog.Logger
	Limits  Limits // the zero Limits are DefaultLimits
	Version string // of the program, for the rootDSE; optional

	Counters Counters

	places places
}

// Limits bound what clients can cost.
type Limits struct {
	Connections  int           // at once, over all listeners; one more closes one that is quiet
	BeforeBind   int           // bytes of a message on an anonymous connection
	Message      int           // bytes of a message on a bound one
	PageSize     int           // entries of one answer (AD's MaxPageSize)
	Pages        int           // open paged searches of a connection (AD's MaxResultSetsPerConn)
	Query        time.Duration // of one search (AD's MaxQueryDuration)
	Change       time.Duration // of one write to the directory
	Idle         time.Duration // between two messages (AD's MaxConnIdleTime)
	FirstRequest time.Duration // from the connection to its first whole message, TLS included
	Receive      time.Duration // from a message's first byte to its last
	Write        time.Duration // that a client may leave an answer unread
	Drain        time.Duration // that Serve's end waits for requests under way
}

// DefaultLimits are AD's LDAP policies where it has one ([MS-ADTS] §3.1.1.3.4.6),
// with a shorter time to the first request.
var DefaultLimits = Limits{
	Connections:  5000,
	BeforeBind:   256 << 10,
	Message:      16 << 20,
	PageSize:     1000,
	Pages:        10,
	Query:        120 * time.Second,
	Change:       30 * time.Second,
	Idle:         15 * time.Minute,
	FirstRequest: 30 * time.Second,
	Receive:      30 * time.Second,
	Write:        10 * time.Second,
	Drain:        5 * time.Second,
}

func (s *Server) limits() *Limits {
	if s.Limits == (Limits{}) {
		return &DefaultLimits
	}
	return &s.Limits
}

// Counters are what the server has done since it started; Open is now.
type Counters struct {
	Open, Connections   atomic.Int64 // connections
	CrowdedOut          atomic.Int64 // closed for newer ones
	Rejected            atomic.Int64 // closed at once: too many of those who were crowded out have not gone yet
	Binds, BindsRefused atomic.Int64
	Searches, Entries   atomic.Int64
	Writes              atomic.Int64 // add, modify, delete that took effect
	Disconnected        atomic.Int64 // connections that we ended for what they sent
	Internal            atomic.Int64 // answers that hid an error of ours
}
