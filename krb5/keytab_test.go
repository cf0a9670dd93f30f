package krb5

import (
	"bytes"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/keytab"
)

// gokrb5 reads back what we write, entry by entry.
func TestKeytab(t *testing.T) {
	when := time.Unix(1795000000, 0).UTC()
	entries := []KeytabEntry{
		{Principal(NTSrvInst, "HTTP", "web.aadds.contoso.test"), "AADDS.CONTOSO.TEST", when, 3, 18, bytes.Repeat([]byte{1}, 32)},
		{Principal(NTPrincipal, "svc-wéb"), "AADDS.CONTOSO.TEST", when, 300, 17, bytes.Repeat([]byte{2}, 16)},
	}
	kt := new(keytab.Keytab)
	if err := kt.Unmarshal(MarshalKeytab(entries)); err != nil {
		t.Fatal(err)
	}
	if len(kt.Entries) != len(entries) {
		t.Fatalf("%d entries", len(kt.Entries))
	}
	for i, e := range entries {
		got := kt.Entries[i]
		if got.Principal.Realm != e.Realm || !e.Principal.Equal(PrincipalName{Name: got.Principal.Components}) ||
			got.Principal.NameType != e.Principal.Type || got.KVNO != e.KVNO || got.Key.KeyType != e.Etype ||
			!bytes.Equal(got.Key.KeyValue, e.Key) || !got.Timestamp.Equal(when) {
			t.Errorf("entry %d reads back as %v", i, got)
		}
	}
}
