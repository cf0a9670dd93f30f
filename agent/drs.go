package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/oiweiwei/go-msrpc/dcerpc"
	"github.com/oiweiwei/go-msrpc/midl/uuid"
	"github.com/oiweiwei/go-msrpc/msrpc/drsr/drsuapi/v4"
	"github.com/oiweiwei/go-msrpc/msrpc/dtyp"
	"github.com/oiweiwei/go-msrpc/msrpc/epm/epm/v3"
	"github.com/oiweiwei/go-msrpc/ndr"
	"github.com/oiweiwei/go-msrpc/ssp"
	"github.com/oiweiwei/go-msrpc/ssp/credential"
	"github.com/oiweiwei/go-msrpc/ssp/gssapi"
)

// AD is a domain controller of an Active Directory, Windows or Samba, read over
// [MS-DRSR] with the rights "Replicating Directory Changes" and "… All". All
// fields but Address are required.
type AD struct {
	Host     string // DNS name, or address
	Address  string // address to connect to, where Host can't be looked up
	User     string // CORP\sync or sync@corp.test
	Password Secret
}

const (
	// dialTime bounds every connection that is made.
	dialTime = 15 * time.Second
	// quietTime bounds how long a DC may keep silent within a call.
	quietTime = 2 * time.Minute
	// pageObjects and pageBytes are what a reply is asked to stay below. A user
	// has some hundred pointers; see maxPointers.
	pageObjects = 150
	pageBytes   = 8 << 20
)

func (d *AD) address() string {
	if d.Address != "" {
		return d.Address
	}
	return d.Host
}

// Domain asks the root of the directory, which says what it is called to anyone
// ([MS-ADTS] §3.1.1.3.2), and then the DC over the authenticated connection.
func (d *AD) Domain(ctx context.Context) (Domain, error) {
	root, err := d.root(ctx)
	if err != nil {
		return Domain{}, err
	}
	s, err := d.open(ctx, root)
	if err != nil {
		return Domain{}, err
	}
	defer s.close()
	out := Domain{DN: root, DNS: dnsName(root)}
	reply, err := s.client.CrackNames(s.ctx, &drsuapi.CrackNamesRequest{Handle: s.handle, InVersion: 1,
		In: &drsuapi.MessageCrackNamesRequest{Value: &drsuapi.MessageCrackNamesRequest_V1{V1: &drsuapi.MessageCrackNamesRequestV1{
			FormatOffered: uint32(drsuapi.DSNameFormatFQDN1779Name), FormatDesired: uint32(drsuapi.DSNameFormatNT4AccountName),
			Names: []string{root}}}}})
	if err != nil {
		return Domain{}, s.failed("the domain's names", err)
	}
	v, ok := reply.Out.GetValue().(*drsuapi.MessageCrackNamesReplyV1)
	if !ok || v.Result == nil || len(v.Result.Items) != 1 || v.Result.Items[0].Status != 0 {
		return Domain{}, malformed("it does not know its own domain")
	}
	out.NetBIOS, _, _ = strings.Cut(v.Result.Items[0].Name, `\`)
	return out, nil
}

// root asks a DC for the DN of its domain.
func (d *AD) root(ctx context.Context) (string, error) {
	conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "tcp", net.JoinHostPort(d.address(), "389"))
	if err != nil {
		return "", fmt.Errorf("agent: LDAP of %s: %w", d.Host, err)
	}
	c := ldap.NewConn(conn, false)
	c.SetTimeout(dialTime)
	c.Start()
	defer c.Close()
	found, err := c.Search(ldap.NewSearchRequest("", ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, false,
		"(objectClass=*)", []string{"defaultNamingContext"}, nil))
	if err != nil {
		return "", fmt.Errorf("agent: LDAP of %s: %w", d.Host, err)
	}
	if len(found.Entries) != 1 || found.Entries[0].GetAttributeValue("defaultNamingContext") == "" {
		return "", fmt.Errorf("agent: %s is no domain controller", d.Host)
	}
	return found.Entries[0].GetAttributeValue("defaultNamingContext"), nil
}

// dnsName makes corp.test of DC=corp,DC=test.
func dnsName(dn string) string {
	var labels []string
	for part := range strings.SplitSeq(dn, ",") {
		if kind, value, ok := strings.Cut(part, "="); ok && strings.EqualFold(strings.TrimSpace(kind), "DC") {
			labels = append(labels, strings.ToLower(value))
		}
	}
	return strings.Join(labels, ".")
}

// session is a bound connection to a DC's replication interface.
type session struct {
	ctx    context.Context // the library keeps the security context in it
	client drsuapi.DrsuapiClient
	handle *drsuapi.Handle
	host   string
	naming string // DN of what is read
	conns  *lifeline
}

func (d *AD) open(ctx context.Context, root string) (*session, error) {
	conns := &lifeline{dialer: net.Dialer{Timeout: dialTime}}
	s := &session{host: d.Host, naming: root, conns: conns}
	// NTLMv2 in SPNEGO. Kerberos is not here: the library's third message of the
	// exchange that DCE/RPC wants is refused by Samba (Heimdal).
	s.ctx = gssapi.NewSecurityContext(ctx, gssapi.WithMechanismFactory(ssp.SPNEGO), gssapi.WithMechanismFactory(ssp.NTLM),
		gssapi.WithCredential(credential.NewFromPassword(d.User, string(d.Password))))
	conns.stop = context.AfterFunc(ctx, conns.cut)
	dial := dcerpc.WithDialer(conns)
	cc, err := dcerpc.Dial(s.ctx, "ncacn_ip_tcp:"+d.address(), dial,
		epm.EndpointMapper(s.ctx, net.JoinHostPort(d.address(), "135"), dcerpc.WithInsecure(), dial))
	if err != nil {
		defer conns.close()
		return nil, s.failed("connection", err)
	}
	s.client, err = drsuapi.NewDrsuapiClient(s.ctx, cc, dcerpc.WithSeal(), dcerpc.WithTargetName("host/"+d.Host))
	if err != nil {
		defer conns.close()
		return nil, s.failed("sign-in as "+d.User, err)
	}
	const can = drsuapi.ExtGetNCChangesRequestV8 | drsuapi.ExtStrongEncryption | drsuapi.ExtGetNCChangesReplyV6 | drsuapi.ExtLinkedValueReplication
	capabilities, err := ndr.Marshal(&drsuapi.ExtensionsInt{Flags: can}, ndr.Opaque)
	if err != nil {
		defer conns.close()
		return nil, err
	}
	bound, err := s.client.Bind(s.ctx, &drsuapi.BindRequest{Client: &drsuapi.Extensions{Data: capabilities}})
	if err != nil {
		defer conns.close()
		return nil, s.failed("bind", err)
	}
	s.handle = bound.DRS
	return s, nil
}

func (s *session) close() {
	_, _ = s.client.Unbind(s.ctx, &drsuapi.UnbindRequest{DRS: s.handle}) // the connection's end does it as well
	s.conns.close()
}

// failed words an error of the library, which has the DC's code in it and never
// a value. A connection that was cut because the caller went away says so.
func (s *session) failed(what string, err error) error {
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	return fmt.Errorf("agent: replication from %s: %s: %w", s.host, what, err)
}

// lifeline makes connections that end with their caller and do not keep silent
// for ever: the library's calls wait for a context at no place of their own.
type lifeline struct {
	dialer net.Dialer
	stop   func() bool

	mu    sync.Mutex
	open  []net.Conn
	ended bool
}

// DialContext implements dcerpc.Dialer.
func (l *lifeline) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := l.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		conn.Close()
		return nil, net.ErrClosed
	}
	l.open = append(l.open, conn)
	return quiet{conn}, nil
}

func (l *lifeline) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	for _, c := range l.open {
		c.Close()
	}
}

func (l *lifeline) close() {
	if l.stop != nil {
		l.stop()
	}
	l.cut()
}

// quiet is a connection that fails when the other side keeps silent.
type quiet struct{ net.Conn }

func (q quiet) Read(b []byte) (int, error) {
	if err := q.SetReadDeadline(time.Now().Add(quietTime)); err != nil {
		return 0, err
	}
	return q.Conn.Read(b)
}

func (q quiet) Write(b []byte) (int, error) {
	if err := q.SetWriteDeadline(time.Now().Add(quietTime)); err != nil {
		return 0, err
	}
	return q.Conn.Write(b)
}

// Read implements [Source].
func (d *AD) Read(ctx context.Context, since Cookie, each func(page) error) (Cookie, error) {
	for objects := uint32(pageObjects); ; objects /= 4 {
		next, err := d.read(ctx, since, objects, each)
		if !errors.Is(err, errPage) || objects < 4 {
			return next, err
		}
		// From the beginning: what has been handed over says the same again.
	}
}

func (d *AD) read(ctx context.Context, since Cookie, objects uint32, each func(page) error) (Cookie, error) {
	root, err := d.root(ctx)
	if err != nil {
		return Cookie{}, err
	}
	s, err := d.open(ctx, root)
	if err != nil {
		return Cookie{}, err
	}
	defer s.close()
	at := since
	for {
		reply, err := s.changes(&drsuapi.MessageGetNCChangesRequestV8{
			NC: &drsuapi.DSName{StringName: s.naming},
			// The vector filters what came from other DCs; it stays the one from
			// before until the last reply brings the new one ([MS-DRSR] §4.1.10.6).
			UpToDateVectorDestination: vectorOf(since.UpToDate),
			MaxObjectsCount:           objects,
		}, &at)
		if err != nil {
			return Cookie{}, err
		}
		p, err := s.page(reply)
		if err != nil {
			return Cookie{}, err
		}
		if err := each(p); err != nil {
			return Cookie{}, err
		}
		if !reply.MoreData {
			at.UpToDate = map[GUID]int64{}
			if v := reply.UpToDateVectorSource; v != nil {
				for _, c := range v.Cursors {
					at.UpToDate[guidOf((*dtyp.GUID)(c.DSA))] = c.HighPropertyUpdate
				}
			}
			return at, nil
		}
	}
}

// Objects implements [Source] by EXOP_REPL_OBJ ([MS-DRSR] §4.1.10.4.3).
func (d *AD) Objects(ctx context.Context, which []GUID, each func(page) error) error {
	root, err := d.root(ctx)
	if err != nil {
		return err
	}
	s, err := d.open(ctx, root)
	if err != nil {
		return err
	}
	defer s.close()
	for _, g := range which {
		p, err := s.whole(g)
		if err != nil {
			return err
		}
		if err := each(p); err != nil {
			return err
		}
	}
	return nil
}

// whole reads one object. One with many links comes in several replies from
// Windows; Samba gives the first 1,500 and can't go on: errStalled.
func (s *session) whole(g GUID) (page, error) {
	var (
		out page
		at  Cookie
	)
	for {
		reply, err := s.changes(&drsuapi.MessageGetNCChangesRequestV8{NC: &drsuapi.DSName{GUID: nameOf(g)},
			MaxObjectsCount: pageObjects, ExtendedOperation: drsuapi.ExtendedOperationReplicationObject}, &at)
		if gone := (*goneError)(nil); errors.As(err, &gone) {
			return page{changes: []change{{guid: g, deleted: true}}}, nil
		}
		if err != nil {
			return page{}, err
		}
		p, err := s.page(reply)
		if err != nil {
			return page{}, err
		}
		if len(out.changes) == 0 {
			out.changes = p.changes
		}
		out.links = append(out.links, p.links...)
		if !reply.MoreData {
			return out, nil
		}
	}
}

// goneError is the DC's word for an object that it does not have.
type goneError struct{ code uint32 }

func (e *goneError) Error() string { return fmt.Sprintf("agent: no such object (%d)", e.code) }

// Codes of the DC's refusals ([MS-ERREF] §2.2).
const (
	errorAccessDenied = 5
	dsNoSuchObject    = 8333 // ERROR_DS_OBJ_NOT_FOUND
	dsDRAccessDenied  = 8453 // ERROR_DS_DRA_ACCESS_DENIED
	dsDRABadDN        = 8439 // ERROR_DS_DRA_BAD_DN
	dsDRABadNC        = 8440 // ERROR_DS_DRA_BAD_NC
)

// errStalled: a DC says that there is more, and its replies do not move on.
var errStalled = fmt.Errorf("%w: it says that there is more and does not move on", errDirectory)

// changes asks for what comes after a place, and moves the place on.
func (s *session) changes(request *drsuapi.MessageGetNCChangesRequestV8, at *Cookie) (*drsuapi.MessageGetNCChangesReplyV6, error) {
	request.InvocationIDSource = dsaOf(at.Source)
	request.From = &drsuapi.Vector{HighObjectUpdate: at.HighObject, HighPropertyUpdate: at.HighProperty}
	// Not in the order of the tree (DRS_GET_ANC), but in that of changes.
	request.Flags, request.MaxBytesCount = drsuapi.InitSync|drsuapi.WritableReplica, pageBytes
	call := &getNCChanges{handle: s.handle, request: request, reserved: at.Reserved}
	err := s.client.Conn().Invoke(s.ctx, call)
	switch {
	case call.broken:
		return nil, errPage
	case err != nil:
		return nil, s.failed("changes", err)
	case call.code == dsDRAccessDenied || call.code == errorAccessDenied:
		return nil, fmt.Errorf("agent: replication from %s: the account lacks the rights Replicating Directory Changes and Replicating Directory Changes All (%d)", s.host, call.code)
	case call.code == dsDRABadDN || call.code == dsDRABadNC || call.code == dsNoSuchObject:
		return nil, &goneError{call.code}
	case call.code != 0:
		return nil, fmt.Errorf("agent: replication from %s: error %d", s.host, call.code)
	}
	reply, ok := call.reply.GetValue().(*drsuapi.MessageGetNCChangesReplyV6)
	if !ok || reply == nil {
		return nil, malformed("a reply of another version than was asked for")
	}
	if reply.DRSError != 0 {
		return nil, fmt.Errorf("agent: replication from %s: error %d", s.host, reply.DRSError)
	}
	if reply.To == nil || reply.InvocationIDSource == nil {
		return nil, malformed("it does not say how far it has come")
	}
	before := *at
	at.Source, at.Reserved = guidOf((*dtyp.GUID)(reply.InvocationIDSource)), call.reservedTo
	at.HighObject, at.HighProperty = reply.To.HighObjectUpdate, reply.To.HighPropertyUpdate
	if reply.MoreData && at.Source == before.Source && at.HighObject == before.HighObject && at.HighProperty == before.HighProperty && at.Reserved == before.Reserved {
		return nil, errStalled
	}
	return reply, nil
}

// nameOf and dsaOf are a GUID as the library has it in the two places.
func nameOf(g GUID) *dtyp.GUID {
	u := &uuid.UUID{}
	_ = u.DecodeBinary(g[:]) // 16 bytes are one
	return dtyp.GUIDFromUUID(u)
}

func dsaOf(g GUID) *dtyp.UUID { return (*dtyp.UUID)(nameOf(g)) }

func guidOf(u *dtyp.GUID) (g GUID) {
	if u != nil {
		copy(g[:], u.UUID().EncodeBinary())
	}
	return g
}

func vectorOf(known map[GUID]int64) *drsuapi.UpToDateVectorV1Ext {
	if len(known) == 0 {
		return nil
	}
	v := &drsuapi.UpToDateVectorV1Ext{Version: 1}
	for _, g := range sortedGUIDs(known) { // the specification wants them in order
		v.Cursors = append(v.Cursors, &drsuapi.UpToDateCursorV1{DSA: dsaOf(g), HighPropertyUpdate: known[g]})
	}
	return v
}
