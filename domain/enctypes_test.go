package domain_test

import (
	"errors"
	"slices"
	"testing"

	"skyrealm/domain"
	"skyrealm/krb5/etype"
)

const attrEncTypes = "msDS-SupportedEncryptionTypes"

func TestEncTypes(t *testing.T) {
	for bits, says := range map[domain.EncTypes]bool{0: false, 3: false, 0x20: false, 0xffffff00: false, 4: true, 8: true, 0x10: true, 0x40: true, 0x80: true} {
		if bits.Says() != says {
			t.Errorf("%#x says: %v", bits, !says)
		}
	}
	if e := domain.EncTypes(0x24); e.Has(etype.AES256SHA1) || !e.HasSession(etype.AES256SHA1) || !e.Has(etype.RC4) || e.Has(etype.ID(16)) {
		t.Error("0x24 is RC4, and AES for sessions")
	}
	if b := domain.EncTypes(0xffffffff).Bits(); b != 0xfc {
		t.Errorf("bits %#x", b)
	}
	var all domain.EncTypes
	for _, id := range []etype.ID{etype.RC4, etype.AES128SHA1, etype.AES256SHA1, etype.AES128SHA2, etype.AES256SHA2, 3} {
		all = all.With(id)
	}
	if all != 0xdc {
		t.Errorf("all are %#x", all)
	}
}

// TestEncTypesOfAccounts: who may say what, and that an account that says SHA-2
// gets keys of it with its next password, which no other pays for.
func TestEncTypesOfAccounts(t *testing.T) {
	h, admin, dn := labs(t)
	front := dn("CN=front")
	secret := "\"\x00" + "P\x00a\x00s\x00s\x00w\x000\x00r\x00d\x00" + "\"\x00"
	var constraint *domain.ConstraintError
	for _, v := range []string{"x", "2147483648", "1.5", "0x18", " 24"} {
		if err := h.dir.Modify(h.ctx, admin, front, mods(attrEncTypes, v)); !errors.As(err, &constraint) {
			t.Errorf("%q: %v", v, err)
		}
	}
	for name, actor := range map[string]*domain.Object{"nobody": nil, "an ordinary user": h.rep.BySAM("ada")} {
		if err := h.dir.Modify(h.ctx, actor, front, mods(attrEncTypes, "4")); !errors.Is(err, domain.ErrAccessDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := h.dir.Modify(h.ctx, admin, dn("CN=fronts"), mods(attrEncTypes, "4")); !errors.Is(err, domain.ErrAccessDenied) {
		t.Error("of a group:", err)
	}
	keys := func() (ids []etype.ID) {
		t.Helper()
		for _, k := range h.rep.ByDN(front).Secrets.Current.Keys {
			want, err := etype.StringToKey(k.Key.ID(), "Passw0rd", k.Salt, k.Iterations)
			if err != nil || !want.Equal(k.Key) || k.KVNO != h.rep.ByDN(front).Secrets.KVNO {
				t.Errorf("the key of %v is not the password's", k.Key.ID())
			}
			ids = append(ids, k.Key.ID())
		}
		return ids
	}
	usual := []etype.ID{etype.AES256SHA1, etype.AES128SHA1}
	for _, c := range []struct {
		says   string
		reads  domain.EncTypes
		expect []etype.ID
	}{
		{"-1", 0xffffffff, append(slices.Clone(usual), etype.AES256SHA2, etype.AES128SHA2)},
		{"208", 0xd0, append(slices.Clone(usual), etype.AES256SHA2, etype.AES128SHA2)},
		{"64", 0x40, append(slices.Clone(usual), etype.AES128SHA2)},
		{"28", 0x1c, usual},
	} {
		if err := h.dir.Modify(h.ctx, admin, front, mods(attrEncTypes, c.says, "unicodePwd", secret)); err != nil {
			t.Fatal(err)
		}
		if got := keys(); !slices.Equal(got, c.expect) || h.rep.ByDN(front).EncTypes != c.reads {
			t.Errorf("%s: says %#x, keys %v, expect %v", c.says, h.rep.ByDN(front).EncTypes, got, c.expect)
		}
	}
	if err := h.dir.Modify(h.ctx, admin, front, []domain.Mod{{Op: domain.ModDelete, Attr: attrEncTypes}}); err != nil {
		t.Fatal(err)
	}
	if h.rep.ByDN(front).EncTypes != 0 {
		t.Error("what is taken away still says something")
	}
}
