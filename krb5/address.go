package krb5

import "skyrealm/der"

// HostAddress is one address of a host.
//
//	HostAddress ::= SEQUENCE {
//	    addr-type [0] Int32,
//	    address   [1] OCTET STRING }
type HostAddress struct {
	Type    int32
	Address []byte
}

func (h HostAddress) put(w *der.Writer) {
	mark := w.Len()
	putOctets(w, 1, h.Address)
	putInt(w, 0, int64(h.Type))
	w.Wrap(der.Sequence, mark)
}

func (d *decoder) address(r *der.Reader) (h HostAddress) {
	in := d.enter(r, der.Sequence)
	h.Type = d.int32(&in, 0)
	h.Address = d.octets(&in, 1)
	d.end(&in)
	return h
}

func (d *decoder) optAddresses(r *der.Reader, n int, list []HostAddress) []HostAddress {
	list = list[:0]
	if !d.has(r, n) {
		return list
	}
	in := d.sequenceAt(r, n)
	for !in.Empty() && !d.bad {
		if len(list) == MaxAddresses {
			d.bad = true
			break
		}
		list = append(list, d.address(&in))
	}
	return list
}

func putAddresses(w *der.Writer, n int, list []HostAddress) {
	if len(list) == 0 {
		return
	}
	mark := w.Len()
	for i := len(list) - 1; i >= 0; i-- {
		list[i].put(w)
	}
	wrapSequence(w, n, mark)
}
