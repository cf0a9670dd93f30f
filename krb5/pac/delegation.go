package pac

import "slices"

// MaxTransited bounds how many services a delegation may pass through.
const MaxTransited = 32

// Delegation is S4U_DELEGATION_INFO, buffer type 11 ([MS-PAC] §2.9): through
// which services the ticket came to be.
type Delegation struct {
	Target    string   // the service that the ticket is for, without its realm
	Transited []string // those that passed the person on, in order, name@REALM
}

// Through returns the delegation after one more hop; d may be nil.
func (d *Delegation) Through(service, target string) *Delegation {
	next := &Delegation{Target: target}
	if d != nil {
		next.Transited = slices.Clone(d.Transited)
	}
	next.Transited = append(next.Transited, service)
	return next
}

func (d *Delegation) append(w *writer) {
	start := w.structure()
	w.str(d.Target, 0)
	w.u32(uint32(len(d.Transited)))
	w.pointer(len(d.Transited) > 0)
	w.chars(d.Target, 0)
	if len(d.Transited) > 0 {
		w.align(4)
		w.u32(uint32(len(d.Transited)))
		for _, s := range d.Transited {
			w.str(s, 0)
		}
		for _, s := range d.Transited {
			w.chars(s, 0)
		}
	}
	w.endStructure(start)
	if len(d.Transited) > MaxTransited {
		w.long = true
	}
}

func parseDelegation(b []byte) (*Delegation, error) {
	const what = SyntaxError("S4U_DELEGATION_INFO")
	r, ok := readStructure(b)
	if !ok {
		return nil, what
	}
	d := new(Delegation)
	target := r.str()
	count, present := r.u32(), r.pointer()
	if !present && count != 0 || count > MaxTransited {
		return nil, what
	}
	d.Target = r.chars(target)
	if present {
		heads := make([]str, r.count(count, 8))
		for i := range heads {
			heads[i] = r.str()
		}
		for _, h := range heads {
			d.Transited = append(d.Transited, r.chars(h))
		}
	}
	if r.bad || len(r.b)-r.off >= 8 {
		return nil, what
	}
	return d, nil
}
