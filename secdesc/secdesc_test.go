package secdesc

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"

	"skyrealm/sid"
)

func parseSID(t testing.TB, text string) sid.SID {
	t.Helper()
	s, err := sid.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// vectors are what Samba 4.17 makes of the SDDL
// (security.descriptor.from_sddl, samba.ndr.ndr_pack).
var vectors = []struct{ sddl, hex string }{
	{"O:BAD:(A;;CCDCLCSWRPWPDTLOCRSDRCWDWO;;;S-1-5-21-1-2-3-1104)",
		"01000480140000000000000000000000240000000102000000000005200000002002000004002c000100000000002400ff010f0001050000000000051500000001000000020000000300000050040000"},
	{"O:BAG:DUD:P(OA;;CR;00299570-246d-11d0-a768-00aa006e0529;;PS)(D;;GA;;;AN)(A;CIIO;GA;;;WD)S:(AU;SAFA;WP;;;WD)",
		"010014901400000024000000400000005c000000010200000000000520000000200200000105000000000005150000000100000002000000030000000102000004001c000100000002c01400200000000101000000000001000000000400580003000000050028000001000001000000709529006d24d011a76800aa006e052901010000000000050a0000000100140000000010010100000000000507000000000a140000000010010100000000000100000000"},
	{"O:SYG:SY", "0100008014000000200000000000000000000000010100000000000512000000010100000000000512000000"},
}

func decode(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	want := []*Descriptor{
		{Owner: parseSID(t, "S-1-5-32-544"), DACL: &ACL{Revision: 4, Entries: []ACE{
			{Type: Allow, Mask: FullControl, SID: parseSID(t, "S-1-5-21-1-2-3-1104")}}}},
		{Owner: parseSID(t, "S-1-5-32-544"), Group: parseSID(t, "S-1-5-21-1-2-3-513"), Control: 0x1000,
			SACL: &ACL{Revision: 4, Entries: []ACE{{Type: Audit, Flags: 0xc0, Mask: 0x20, SID: parseSID(t, "S-1-1-0")}}},
			DACL: &ACL{Revision: 4, Entries: []ACE{
				{Type: AllowObject, Mask: ControlAccess, ObjectFlags: 1,
					ObjectType: [16]byte(decode(t, "709529006d24d011a76800aa006e0529")), SID: parseSID(t, "S-1-5-10")},
				{Type: Deny, Mask: GenericAll, SID: parseSID(t, "S-1-5-7")},
				{Type: Allow, Flags: InheritOnly | 2, Mask: GenericAll, SID: parseSID(t, "S-1-1-0")}}}},
		{Owner: parseSID(t, "S-1-5-18"), Group: parseSID(t, "S-1-5-18")},
	}
	for i, v := range vectors {
		b := decode(t, v.hex)
		d, err := Parse(b)
		if err != nil {
			t.Errorf("%s: %v", v.sddl, err)
			continue
		}
		if !reflect.DeepEqual(d, want[i]) {
			t.Errorf("%s:\n%+v\nexpect\n%+v", v.sddl, d, want[i])
		}
		again, err := d.Bytes()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s: writes\n%x, expect\n%x", v.sddl, again, b)
		}
		for n := range b {
			if _, err := Parse(b[:n]); err == nil && i != 2 {
				t.Errorf("%s: cut to %d of %d bytes, it parses", v.sddl, n, len(b))
			}
		}
	}
}

func TestRefused(t *testing.T) {
	good := decode(t, vectors[0].hex)
	for name, change := range map[string]func(b []byte){
		"revision 2":            func(b []byte) { b[0] = 2 },
		"absolute form":         func(b []byte) { b[3] &^= 0x80 },
		"owner in the head":     func(b []byte) { b[4] = 4 },
		"owner past the end":    func(b []byte) { le.PutUint32(b[4:], uint32(len(b)+1)) },
		"owner at 2^32-1":       func(b []byte) { le.PutUint32(b[4:], 1<<32-1) },
		"owner at the end":      func(b []byte) { le.PutUint32(b[4:], uint32(len(b))) },
		"owner of 16":           func(b []byte) { b[20+1] = 16 },
		"owner of version 2":    func(b []byte) { b[20] = 2 },
		"list past the end":     func(b []byte) { le.PutUint16(b[36+2:], 1000) },
		"list below its header": func(b []byte) { le.PutUint16(b[36+2:], 7) },
		"two entries":           func(b []byte) { b[36+4] = 2 },
		"65,535 entries":        func(b []byte) { le.PutUint16(b[36+4:], 1<<16-1) },
		"entry of 3":            func(b []byte) { le.PutUint16(b[44+2:], 3) },
		"entry of 4":            func(b []byte) { le.PutUint16(b[44+2:], 4) },
		"entry past its list":   func(b []byte) { le.PutUint16(b[44+2:], 40) },
		"SID past its entry":    func(b []byte) { b[44+8+1] = 6 },
		"object without GUID":   func(b []byte) { b[44], b[48+4] = AllowObject, 3 },
	} {
		b := bytes.Clone(good)
		change(b)
		if bytes.Equal(b, good) {
			t.Fatalf("%s changes nothing", name)
		}
		if d, err := Parse(b); err == nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if _, err := Parse(append(bytes.Clone(good), make([]byte, MaxSize)...)); err == nil {
		t.Error("more than MaxSize")
	}
}

// TestRules: who may, entry by entry.
func TestRules(t *testing.T) {
	alice, staff, all := parseSID(t, "S-1-5-21-1-2-3-1104"), parseSID(t, "S-1-5-21-1-2-3-1105"), parseSID(t, "S-1-1-0")
	holds := func(s sid.SID) bool { return s == alice || s == staff || s == all }
	for name, c := range map[string]struct {
		entries []ACE
		want    bool
	}{
		"nothing":               {nil, false},
		"full control":          {[]ACE{{Mask: FullControl, SID: alice}}, true},
		"generic all":           {[]ACE{{Mask: GenericAll, SID: alice}}, true},
		"control access":        {[]ACE{{Mask: ControlAccess, SID: all}}, true},
		"read and write":        {[]ACE{{Mask: FullControl &^ ControlAccess, SID: alice}}, false},
		"somebody else":         {[]ACE{{Mask: FullControl, SID: parseSID(t, "S-1-5-21-1-2-3-1106")}}, false},
		"for children":          {[]ACE{{Flags: InheritOnly, Mask: FullControl, SID: alice}}, false},
		"audit":                 {[]ACE{{Type: Audit, Mask: FullControl, SID: alice}}, false},
		"denied first":          {[]ACE{{Type: Deny, Mask: ControlAccess, SID: staff}, {Mask: FullControl, SID: alice}}, false},
		"denied behind":         {[]ACE{{Mask: FullControl, SID: alice}, {Type: Deny, Mask: ControlAccess, SID: staff}}, true},
		"denied another right":  {[]ACE{{Type: Deny, Mask: 0x10, SID: staff}, {Mask: FullControl, SID: alice}}, true},
		"on a condition":        {[]ACE{{Type: AllowCallback, Mask: FullControl, SID: alice, Data: []byte("artx")}}, false},
		"denied on a condition": {[]ACE{{Type: DenyCallback, Mask: FullControl, SID: alice, Data: []byte("artx")}, {Mask: FullControl, SID: alice}}, false},
		"one property":          {[]ACE{{Type: AllowObject, ObjectFlags: 1, Mask: FullControl, SID: alice}}, false},
		"object entry for all":  {[]ACE{{Type: AllowObject, Mask: FullControl, SID: alice}}, true},
		"an unknown type":       {[]ACE{{Type: 77, Data: []byte(alice)}}, false},
	} {
		d := &Descriptor{DACL: &ACL{Revision: 4, Entries: c.entries}}
		b, err := d.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if d, err = Parse(b); err != nil {
			t.Fatal(name, err)
		}
		if got := d.Rules(ControlAccess).Allow(holds); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for name, d := range map[string]*Descriptor{"no list": {}, "a NULL list": {Control: DACLPresent}} {
		if d.Rules(ControlAccess).Allow(holds) {
			t.Errorf("%s lets everybody", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, v := range vectors {
		f.Add(decode(f, v.hex))
	}
	callback := &Descriptor{DACL: &ACL{Revision: 4, Entries: []ACE{
		{Type: AllowCallback, Mask: FullControl, SID: sid.New(1, 0), Data: []byte("artx")}, {Type: 77, Data: []byte{1, 2, 3, 4}}}}}
	b, err := callback.Bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(append(make([]byte, 0), 1, 0, 4, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)) // a NULL list
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Parse(b)
		if err != nil {
			return
		}
		d.Rules(ControlAccess).Allow(func(sid.SID) bool { return false })
		out, err := d.Bytes()
		if err != nil { // parts that share bytes can come to more than there were
			return
		}
		again, err := Parse(out)
		if err != nil || !reflect.DeepEqual(d, again) {
			t.Fatalf("%x\n%+v\nwritten and read (%v)\n%+v", b, d, err, again)
		}
	})
}
