package pac

import (
	"slices"

	"skyrealm/sid"
)

// Buffer types ([MS-PAC] §2.4).
const (
	TypeLogonInfo      uint32 = 1
	TypeCredentials    uint32 = 2
	TypeServerChecksum uint32 = 6
	TypeKDCChecksum    uint32 = 7
	TypeClientInfo     uint32 = 10
	TypeDelegation     uint32 = 11
	TypeUPNDNSInfo     uint32 = 12
	TypeClientClaims   uint32 = 13
	TypeDeviceInfo     uint32 = 14
	TypeDeviceClaims   uint32 = 15
	TypeTicketChecksum uint32 = 16
	TypeAttributes     uint32 = 17
	TypeRequestor      uint32 = 18
	TypeFullChecksum   uint32 = 19
	// TypeKeyVersion is our own, far from those that Microsoft counts up.
	TypeKeyVersion uint32 = 0x536b4b76
)

// PAC is what one says, without its signatures.
type PAC struct {
	Logon      *LogonInfo  // required
	Client     *ClientInfo // required
	UPN        *UPNDNSInfo
	Delegation *Delegation // where a service passed the client on
	Attributes *Attributes // in a TGT
	Requestor  sid.SID     // in a TGT: whose it is, whatever the name says by now (CVE-2021-42287)
	// KeyVersion, in a TGT: of the password that the client had when it signed in;
	// 0 is absent.
	KeyVersion uint32
	// Extra are the other buffers, as they came. A KDC copies only the types
	// that it means to vouch for.
	Extra []Buffer
}

// Buffer is a buffer that this package does not look into.
type Buffer struct {
	Type uint32
	Data []byte
}

// entry is one PAC_INFO_BUFFER ([MS-PAC] §2.4).
type entry struct{ kind, offset, size uint32 }

func (e entry) of(b []byte) []byte { return b[e.offset : e.offset+e.size : e.offset+e.size] }

// table is the checked directory of a PAC. It lives on the stack.
type table struct {
	list [MaxBuffers]entry
	n    int
}

func (t *table) entries() []entry { return t.list[:t.n] }

func (t *table) find(kind uint32) (entry, bool) {
	for _, e := range t.entries() {
		if e.kind == kind {
			return e, true
		}
	}
	return entry{}, false
}

// read checks PACTYPE ([MS-PAC] §2.3): every buffer lies aligned behind the
// directory and inside b, no two share a byte, and none comes twice. The sums
// are done in 64 bits: doing them in 32 was CVE-2022-42898.
func (t *table) read(b []byte) error {
	const what = SyntaxError("PACTYPE")
	r := reader{b: b}
	count, version := r.u32(), r.u32()
	if r.bad || version != 0 || count == 0 || count > MaxBuffers {
		return what
	}
	head := uint64(8 + 16*count)
	for range count {
		kind, size, offset := r.u32(), uint64(r.u32()), uint64(r.time())
		if r.bad || offset%8 != 0 || offset < head || offset > uint64(len(b)) || size > uint64(len(b))-offset {
			return what
		}
		for _, e := range t.entries() {
			if e.kind == kind || (offset < uint64(e.offset)+uint64(e.size) && uint64(e.offset) < offset+size) {
				return what
			}
		}
		t.list[t.n] = entry{kind, uint32(offset), uint32(size)}
		t.n++
	}
	return nil
}

// Parse reads a PAC, whose signatures it leaves to [Verify]. LOGON_INFO,
// CLIENT_INFO and the two signatures that every PAC carries must be there. The
// data of Extra points into b.
func Parse(b []byte) (*PAC, error) {
	var t table
	if err := t.read(b); err != nil {
		return nil, err
	}
	for _, kind := range [...]uint32{TypeLogonInfo, TypeClientInfo, TypeServerChecksum, TypeKDCChecksum} {
		if _, ok := t.find(kind); !ok {
			return nil, ErrMissing
		}
	}
	p := new(PAC)
	for _, e := range t.entries() {
		var err error
		data := e.of(b)
		switch e.kind {
		case TypeLogonInfo:
			p.Logon, err = parseLogonInfo(data)
		case TypeClientInfo:
			p.Client, err = parseClientInfo(data)
		case TypeUPNDNSInfo:
			p.UPN, err = parseUPNDNSInfo(data)
		case TypeDelegation:
			p.Delegation, err = parseDelegation(data)
		case TypeAttributes:
			p.Attributes, err = parseAttributes(data)
		case TypeRequestor:
			if p.Requestor, err = sid.FromBytes(data); err != nil {
				err = SyntaxError("REQUESTOR")
			}
		case TypeKeyVersion:
			if len(data) != 4 {
				return nil, SyntaxError("key version")
			}
			p.KeyVersion = le.Uint32(data)
		case TypeServerChecksum, TypeKDCChecksum, TypeTicketChecksum, TypeFullChecksum:
			if len(data) < 4 {
				err = SyntaxError("SIGNATURE_DATA")
			}
		default:
			p.Extra = append(p.Extra, Buffer{e.kind, data})
		}
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

// builder writes a PAC behind dst: the directory first, left empty, then each
// buffer at the next multiple of eight.
type builder struct {
	writer
	start int
	t     table
}

func (p *PAC) count() int {
	n := 2 + len(p.Extra)
	for _, some := range [...]bool{p.UPN != nil, p.Delegation != nil, p.Attributes != nil, p.Requestor != "", p.KeyVersion != 0} {
		if some {
			n++
		}
	}
	return n
}

// begin opens the next buffer; end closes it.
func (b *builder) begin(kind uint32) {
	b.base = b.start
	b.align(8)
	b.t.list[b.t.n] = entry{kind: kind, offset: uint32(len(b.b) - b.start)}
	b.t.n++
}

func (b *builder) end() {
	e := &b.t.list[b.t.n-1]
	e.size = uint32(len(b.b)-b.start) - e.offset
}

// build writes all of p but the signatures.
func (b *builder) build(p *PAC, dst []byte, signatures int) error {
	if p.Logon == nil || p.Client == nil {
		return ErrMissing
	}
	n := p.count() + signatures
	if n > MaxBuffers {
		return ErrTooLong
	}
	dst = slices.Grow(dst, 1024+8*(len(p.Logon.Groups)+len(p.Logon.ResourceGroups))+40*len(p.Logon.ExtraSIDs))
	b.start = len(dst)
	b.b = dst[:len(dst)+8+16*n]
	clear(b.b[b.start:])
	le.PutUint32(b.b[b.start:], uint32(n))

	b.begin(TypeLogonInfo)
	p.Logon.append(&b.writer)
	b.end()
	b.begin(TypeClientInfo)
	p.Client.append(&b.writer)
	b.end()
	if p.UPN != nil {
		b.begin(TypeUPNDNSInfo)
		p.UPN.append(&b.writer)
		b.end()
	}
	if p.Delegation != nil {
		b.begin(TypeDelegation)
		p.Delegation.append(&b.writer)
		b.end()
	}
	if p.Attributes != nil {
		b.begin(TypeAttributes)
		p.Attributes.append(&b.writer)
		b.end()
	}
	if p.Requestor != "" {
		b.begin(TypeRequestor)
		b.b = append(b.b, p.Requestor...)
		b.end()
	}
	if p.KeyVersion != 0 {
		b.begin(TypeKeyVersion)
		b.u32(p.KeyVersion)
		b.end()
	}
	for _, e := range p.Extra {
		b.begin(e.Type)
		b.b = append(b.b, e.Data...)
		b.end()
	}
	if b.long {
		return ErrTooLong
	}
	return nil
}

// directory fills in what begin and end noted.
func (b *builder) directory() {
	at := b.b[b.start+8:]
	for i, e := range b.t.entries() {
		le.PutUint32(at[16*i:], e.kind)
		le.PutUint32(at[16*i+4:], e.size)
		le.PutUint64(at[16*i+8:], uint64(e.offset))
	}
}
