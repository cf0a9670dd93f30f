package sid

import (
	"encoding/hex"
	"testing"
)

func TestForms(t *testing.T) {
	for text, want := range map[string]string{
		"S-1-0-0":      "010100000000000000000000",
		"S-1-5-32-544": "01020000000000052000000020020000",
		"S-1-5-21-1004336348-1177238915-682003330-512": "010500000000000515000000dcf4dc3b833d2b46828ba62800020000",
	} {
		s, err := Parse(text)
		if err != nil || s.String() != text {
			t.Fatalf("%s: %v %v", text, s, err)
		}
		if got := hex.EncodeToString([]byte(s)); got != want {
			t.Errorf("%s = %s, want %s", text, got, want)
		}
		back, err := FromBytes([]byte(s))
		if err != nil || back != s {
			t.Errorf("%s does not read back: %v", text, err)
		}
	}
}

func TestAppendSplit(t *testing.T) {
	domain := New(5, 21, 1, 2, 3)
	account := domain.Append(1103)
	if account.String() != "S-1-5-21-1-2-3-1103" {
		t.Fatal(account)
	}
	if d, rid, ok := account.Split(); !ok || d != domain || rid != 1103 {
		t.Fatal(d, rid, ok)
	}
}

func TestMalformed(t *testing.T) {
	for _, text := range []string{"", "S-1", "S-2-5-1", "S-1-5-", "S-1-5-4294967296", "S-1-5--1", "X-1-5-1", "S-1-010-1", "S-1-0o5-1", "S-1-0b1-1", "S-1-1_0-1", "S-1-5-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1"} {
		if s, err := Parse(text); err == nil {
			t.Errorf("%q parsed as %s", text, s)
		}
	}
	for _, b := range []string{"", "01", "0101000000000005", "02010000000000051500000", "0110000000000005"} {
		raw, _ := hex.DecodeString(b)
		if s, err := FromBytes(raw); err == nil {
			t.Errorf("%q read as %s", b, s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("S-1-5-21-1-2-3-500")
	f.Add("s-1-0x5-21")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(s.String())
		if err != nil || again != s {
			t.Fatalf("%q: %v, %v", text, s, err)
		}
	})
}
