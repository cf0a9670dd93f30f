package pkinit

import (
	"bytes"
	"encoding/hex"
	"math/big"
	"math/bits"
	"strings"
	"testing"

	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestOctetStringToKey: RFC 4556 appendix B.
func TestOctetStringToKey(t *testing.T) {
	cycle := make([]byte, 128)
	for i := range cycle {
		cycle[i] = byte(i % 17)
	}
	for _, c := range []struct {
		x      []byte
		expect string
	}{
		{make([]byte, 256), "5ee50d675c809fe59e4a7762c54b65837547eafb159bd8cdc75ffca5911e4c41"},
		{make([]byte, 128), "acf7707c08973ddfdb27cd361442ccfba355c8884cb472f37da636d07d56787e"},
		{cycle, "c442da585fcb80e43b47946f254093e37329d99001380db78371db3acf5c797e"},
		{cycle[:77], "0053953b84c896f4eb385c3f2e751c4a590ed6ffadca6ff64f47ebeb8d780ffc"},
	} {
		k, err := OctetStringToKey(etype.AES256SHA1, c.x)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(k.Expose()); got != c.expect {
			t.Errorf("%d octets: %s, expect: %s", len(c.x), got, c.expect)
		}
	}
}

// TestDeriveKey: RFC 8636 §8. The third is for triple DES, whose random-to-key
// spreads 21 octets over 24 (RFC 3961 §6.3.1).
func TestDeriveKey(t *testing.T) {
	z := make([]byte, 256)
	x := &Exchange{
		Client: Name{"SU.SE", krb5.Principal(krb5.NTPrincipal, "lha")},
		Server: Name{"SU.SE", krb5.Principal(krb5.NTPrincipal, "krbtgt", "SU.SE")},
		ASReq:  bytes.Repeat([]byte{0xaa}, 10), ASRep: bytes.Repeat([]byte{0xbb}, 9),
	}
	for _, c := range []struct {
		kdf    OID
		expect string
	}{
		{KDFSHA1, "e6ab38c9413e035bb079201ed0b6b73d8d49a814a737c04ee6649614206f73ad"},
		{KDFSHA256, "77ef4e48c420ae3fec75109d7981697eed5d295c90c62564f7bfd101fa9bc1d5"},
	} {
		k, err := DeriveKey(c.kdf, etype.AES256SHA1, z, x)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(k.Expose()); got != c.expect {
			t.Errorf("%s, expect: %s", got, c.expect)
		}
	}
	random := derive(KDFSHA512, 21, z, x.otherInfo(KDFSHA512, 16))
	if got := tripleDES(random); !bytes.Equal(got, unhex(t, "d3c78a79d65213efe9a826f75dfb01f72362fb16fb01dad6")) {
		t.Errorf("SHA-512, triple DES: %x", got)
	}
	if _, err := DeriveKey("\x2a", etype.AES256SHA1, z, x); err == nil {
		t.Error("a function that there is not made a key")
	}
}

func tripleDES(random []byte) (out []byte) {
	for i := 0; i < 21; i += 7 {
		last := byte(0)
		for j, b := range random[i : i+7] {
			last |= b & 1 << (j + 1)
			out = append(out, parity(b))
		}
		out = append(out, parity(last))
	}
	return out
}

func parity(b byte) byte {
	b &^= 1
	return b | byte(1-bits.OnesCount8(b)%2)
}

// The primes are made from their definition; RFC 2409 §6.2 and RFC 3526 print
// them, and what they are for is that both they and their halves are prime.
func TestPrimes(t *testing.T) {
	for _, c := range []struct {
		group       *Group
		bits        int
		first, last string
	}{
		{Group2, 1024, "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74", "49286651ece65381ffffffffffffffff"},
		{Group14, 2048, "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74", "15728e5a8aacaa68ffffffffffffffff"},
		{Group16, 4096, "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74", "4df435c934063199ffffffffffffffff"},
	} {
		p := c.group.prime
		if text := p.Text(16); p.BitLen() != c.bits || !strings.HasPrefix(text, c.first) || !strings.HasSuffix(text, c.last) {
			t.Errorf("%v: %s", c.group, text)
		}
		if !p.ProbablyPrime(1) || !new(big.Int).Rsh(p, 1).ProbablyPrime(1) {
			t.Errorf("%v: no safe prime", c.group)
		}
	}
}
