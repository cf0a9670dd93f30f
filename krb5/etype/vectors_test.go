package etype

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustKey(t testing.TB, id ID, s string) Key {
	t.Helper()
	k, err := NewKey(id, unhex(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// RFC 3961 §A.1.
func TestNFold(t *testing.T) {
	for _, v := range []struct {
		bits   int
		in     string
		expect string
	}{
		{64, "012345", "be072631276b1955"},
		{56, "password", "78a07b6caf85fa"},
		{64, "Rough Consensus, and Running Code", "bb6ed30870b7f0e0"},
		{168, "password", "59e4a8ca7c0385c3c37b3f6d2000247cb6e6bd5b3e"},
		{192, "MASSACHVSETTS INSTITVTE OF TECHNOLOGY", "db3b0d8f0b061e603282b308a50841229ad798fab9540c1b"},
		{168, "Q", "518a54a2 15a8452a 518a54a2 15a8452a 518a54a2 15"},
		{168, "ba", "fb25d531 ae897449 9f52fd92 ea9857c4 ba24cf29 7e"},
		{64, "kerberos", "6b65726265726f73"},
		{128, "kerberos", "6b65726265726f737b9b5b2b93132b93"},
		{168, "kerberos", "8372c236344e5f1550cd0747e15d62ca7a5a3bcea4"},
		{256, "kerberos", "6b65726265726f737b9b5b2b93132b935c9bdcdad95c9899c4cae4dee6d6cae4"},
	} {
		out := make([]byte, v.bits/8)
		nFold(out, []byte(v.in))
		if got := hex.EncodeToString(out); got != hex.EncodeToString(unhex(t, v.expect)) {
			t.Errorf("%d-fold(%q) = %s, expect %s", v.bits, v.in, got, v.expect)
		}
	}
}

// The table of folded constants holds what folding gives.
func TestFoldedTable(t *testing.T) {
	for u := range uint32(foldedUsages + 3) {
		for _, what := range []byte{forChecksum, forEncryption, forIntegrity} {
			if usageFold(u, what) != fold(u, what) {
				t.Fatalf("usage %d, %#x", u, what)
			}
		}
	}
}

// Password to key: RFC 3962 §B, RFC 8009 §A, and entra-wire.md §B and §C5 of
// what a real Active Directory stores.
func TestStringToKeyVectors(t *testing.T) {
	x := func(s string) string { return string(unhex(t, s)) }
	long := strings.Repeat("X", 64)
	for _, v := range []struct {
		id             ID
		password, salt string
		iterations     uint32
		expect         string
	}{
		{17, "password", "ATHENA.MIT.EDUraeburn", 1, "42263c6e89f4fc28b8df68ee09799f15"},
		{18, "password", "ATHENA.MIT.EDUraeburn", 1, "fe697b52bc0d3ce14432ba036a92e65bbb52280990a2fa27883998d72af30161"},
		{17, "password", "ATHENA.MIT.EDUraeburn", 2, "c651bf29e2300ac27fa469d693bdda13"},
		{18, "password", "ATHENA.MIT.EDUraeburn", 2, "a2e16d16b36069c135d5e9d2e25f896102685618b95914b467c67622225824ff"},
		{17, "password", "ATHENA.MIT.EDUraeburn", 1200, "4c01cd46d632d01e6dbe230a01ed642a"},
		{18, "password", "ATHENA.MIT.EDUraeburn", 1200, "55a6ac740ad17b4846941051e1e8b0a7548d93b0ab30a8bc3ff16280382b8c2a"},
		{17, "password", x("1234567878563412"), 5, "e9b23d52273747dd5c35cb55be619d8e"},
		{18, "password", x("1234567878563412"), 5, "97a4e786be20d81a382d5ebc96d5909cabcdadc87ca48f574504159f16c36e31"},
		{17, long, "pass phrase equals block size", 1200, "59d1bb789a828b1aa54ef9c2883f69ed"},
		{18, long, "pass phrase equals block size", 1200, "89adee3608db8bc71f1bfbfe459486b05618b70cbae22092534e56c553ba4b34"},
		{17, long + "X", "pass phrase exceeds block size", 1200, "cb8005dc5f90179a7f02104c0018751d"},
		{18, long + "X", "pass phrase exceeds block size", 1200, "d78c5c9cb872a8c9dad4697f0bb5b2d21496c82beb2caeda2112fceea057401b"},
		{17, "\U0001d11e", "EXAMPLE.COMpianist", 50, "f149c1f2e154a73452d43e7fe62a56e5"},
		{18, "\U0001d11e", "EXAMPLE.COMpianist", 50, "4b6d9839f84406df1f09cc166db4b83c571848b784a3d6bdc346589a3e393f9e"},

		{19, "password", x("10DF9DD783E5BC8ACEA1730E74355F61") + "ATHENA.MIT.EDUraeburn", 32768, "089BCA48B105EA6EA77CA5D2F39DC5E7"},
		{20, "password", x("10DF9DD783E5BC8ACEA1730E74355F61") + "ATHENA.MIT.EDUraeburn", 32768, "45BD806DBF6A833A9CFFC1C94589A222367A79BC21C413718906E9F578A78467"},

		{18, "Pa$$w0rd", "ADATUM.COMApril", 0, "3a3b6a89bb82d112db5ef68f6db5d1afc2b806df61dcd85e3eacf3b85ee382d8"},
		{17, "Pa$$w0rd", "ADATUM.COMApril", 0, "a72c8bc96c4a6f03244f0b0067a1e440"},
		{18, "Pa$$w0rd", "ADATUM.COMuser02", 4096, "622fca1d12de1df65e840afd5f3b9844b18a72a82aed6e3e58c39257753fdfa8"},
		{17, "Pa$$w0rd", "ADATUM.COMuser02", 4096, "30666974cb729ef6bd44f8eab3296e5c"},

		{23, "foo", "", 0, "ac8e657f83df82beea5d43bdaf7800cc"}, // RFC 4757 §2
		{23, "", "", 0, "31D6CFE0D16AE931B73C59D7E0C089C0"},
		{23, "Pa$$w0rd", "ignored", 77, "92937945B518814341DE3F726500D4FF"},
		{23, "pässwörd-€", "", 0, "AC552D9AE9341FF3C69606EAA9785E54"},
	} {
		k, err := StringToKey(v.id, v.password, v.salt, v.iterations)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(k.Expose(), unhex(t, v.expect)) {
			t.Errorf("%v %q %q %d: %x, expect %s", v.id, v.password, v.salt, v.iterations, k.Expose(), v.expect)
		}
	}
}

// RFC 3962 §B: CBC with ciphertext stealing from a zero state.
func TestCTSVectors(t *testing.T) {
	key := unhex(t, "636869636b656e207465726979616b69")
	plain := "I would like the General Gau's Chicken, please, and wonton soup."
	c := &Cipher{id: AES128SHA1, block: newAES(key)}
	e := sha1Alg.get()
	defer e.put()
	for n, expect := range map[int]string{
		17: "c6353568f2bf8cb4d8a580362da7ff7f 97",
		31: "fc00783e0efdb2c1d445d4c8eff7ed22 97687268d6ecccc0c07b25e25ecfe5",
		32: "39312523a78662d5be7fcbcc98ebf5a8 97687268d6ecccc0c07b25e25ecfe584",
		47: "97687268d6ecccc0c07b25e25ecfe584 b3fffd940c16a18c1b5549d2f838029e 39312523a78662d5be7fcbcc98ebf5",
		48: "97687268d6ecccc0c07b25e25ecfe584 9dad8bbb96c4cdc03bc103e1a194bbd8 39312523a78662d5be7fcbcc98ebf5a8",
		64: "97687268d6ecccc0c07b25e25ecfe584 39312523a78662d5be7fcbcc98ebf5a8 4807efe836ee89a526730dbc2f7bc840 9dad8bbb96c4cdc03bc103e1a194bbd8",
	} {
		b := []byte(plain)[:n]
		c.ctsEncrypt(e, b)
		if !bytes.Equal(b, unhex(t, expect)) {
			t.Errorf("%d bytes: %x, expect %s", n, b, expect)
		}
		got := make([]byte, n-16)
		c.ctsDecrypt(e, got, b)
		if string(e.conf[:])+string(got) != plain[:n] {
			t.Errorf("%d bytes do not come back: %q %q", n, e.conf, got)
		}
	}
}

// RFC 8009 §A: derived keys, checksums, encryptions (the confounder is given),
// pseudo-random function.
func TestSHA2Vectors(t *testing.T) {
	const (
		k128 = "3705D96080C17728A0E800EAB6E0D23C"
		k256 = "6D404D37FAF79F9DF0D33568D320669800EB4836472EA8A026D16B7182460C52"
		text = "000102030405060708090A0B0C0D0E0F1011121314"
	)
	for _, v := range []struct {
		id     ID
		key    string
		what   byte
		expect string
		name   string
		sum    string
		prf    string
		ke, ki string
	}{
		{id: 19, key: k128, sum: "D78367186643D67B411CBA9139FC1DEE",
			prf: "9D188616F63852FE86915BB840B4A886FF3E6BB0F819B49B893393D393854295",
			ke:  "9B197DD1E8C5609D6E67C3E37C62C72E", ki: "9FDA0E56AB2D85E1569A688696C26A6C"},
		{id: 20, key: k256, sum: "45EE791567EEFCA37F4AC1E0222DE80D43C3BFA06699672A",
			prf: "9801F69A368C2BF675E59521E177D9A07F67EFE1CFDE8D3C8D6F6A0256E3B17DB3C1B62AD1B8553360D17367EB1514D2",
			ke:  "56AB22BEE63D82D7BC5227F6773F8EA7A5EB1C825160C38312980C442E5C7E49", ki: "69B16514E3CD8E56B82010D5C73012B622C4D00FFC23ED1F"},
	} {
		k := mustKey(t, v.id, v.key)
		p := v.id.profile()
		e := p.hash.get()
		var b base
		k.base(e, &b)
		for what, expect := range map[byte]string{forEncryption: v.ke, forIntegrity: v.ki} {
			out := make([]byte, len(expect)/2)
			k.usageKey(e, &b, 2, what, out)
			if !bytes.Equal(out, unhex(t, expect)) {
				t.Errorf("%v derived %#x: %x, expect %s", v.id, what, out, expect)
			}
		}
		e.put()
		if got := k.Checksum(nil, unhex(t, text), 2); !bytes.Equal(got, unhex(t, v.sum)) {
			t.Errorf("%v checksum %x, expect %s", v.id, got, v.sum)
		}
		if got := k.PRF([]byte("test")); !bytes.Equal(got, unhex(t, v.prf)) {
			t.Errorf("%v PRF %x, expect %s", v.id, got, v.prf)
		}
	}
	for _, v := range []struct {
		id                             ID
		key, plain, confounder, expect string
	}{
		{19, k128, "", "7E5895EAF2672435BAD817F545A37148", "EF85FB890BB8472F4DAB20394DCA781DAD877EDA39D50C870C0D5A0A8E48C718"},
		{19, k128, "000102030405", "7BCA285E2FD4130FB55B1A5C83BC5B24", "84D7F30754ED987BAB0BF3506BEB09CFB55402CEF7E6877CE99E247E52D16ED4421DFDF8976C"},
		{19, k128, "000102030405060708090A0B0C0D0E0F", "56AB21713FF62C0A1457200F6FA9948F", "3517D640F50DDC8AD3628722B3569D2AE07493FA8263254080EA65C1008E8FC295FB4852E7D83E1E7C48C37EEBE6B0D3"},
		{19, k128, text, "A7A4E29A4728CE10664FB64E49AD3FAC", "720F73B18D9859CD6CCB4346115CD336C70F58EDC0C4437C5573544C31C813BCE1E6D072C186B39A413C2F92CA9B8334A287FFCBFC"},
		{20, k256, "", "F764E9FA15C276478B2C7D0C4E5F58E4", "41F53FA5BFE7026D91FAF9BE959195A058707273A96A40F0A01960621AC612748B9BBFBE7EB4CE3C"},
		{20, k256, "000102030405", "B80D3251C1F6471494256FFE712D0B9A", "4ED7B37C2BCAC8F74F23C1CF07E62BC7B75FB3F637B9F559C7F664F69EAB7B6092237526EA0D1F61CB20D69D10F2"},
		{20, k256, "000102030405060708090A0B0C0D0E0F", "53BF8A0D105265D4E276428624CE5E63", "BC47FFEC7998EB91E8115CF8D19DAC4BBBE2E163E87DD37F49BECA92027764F68CF51F14D798C2273F35DF574D1F932E40C4FF255B36A266"},
		{20, k256, text, "763E65367E864F02F55153C7E3B58AF1", "40013E2DF58E8751957D2878BCD2D6FE101CCFD556CB1EAE79DB3C3EE86429F2B2A602AC86FEF6ECB647D6295FAE077A1FEB517508D2C16B4192E01F62"},
	} {
		k := mustKey(t, v.id, v.key)
		got, err := k.Encrypt(nil, unhex(t, v.plain), 2, bytes.NewReader(unhex(t, v.confounder)))
		if err != nil || !bytes.Equal(got, unhex(t, v.expect)) {
			t.Errorf("%v %q: %x %v, expect %s", v.id, v.plain, got, err, v.expect)
		}
		back, err := k.Decrypt(nil, unhex(t, v.expect), 2)
		if err != nil || !bytes.Equal(back, unhex(t, v.plain)) {
			t.Errorf("%v %q does not come back: %x %v", v.id, v.plain, back, err)
		}
	}
}

// RFC 6113 §A; 19 and 20 from the tests of MIT krb5 1.22.
func TestCF2Vectors(t *testing.T) {
	for _, v := range []struct {
		id     ID
		expect string
	}{
		{17, "97df97e4b798b29eb31ed7280287a92a"},
		{18, "4d6ca4e629785c1f01baf55e2e548566b9617ae3a96868c337cb93b5e72b1c7b"},
		{19, "edd02a39d2dbde31611c16e610be062c"},
		{20, "67f6ea530aea85a37dcbb23349ea52dcc61ca8493ff557252327fd8304341584"},
		{23, "24d7f6b6bae4e5c00d2082c5ebab3672"},
	} {
		k1, err1 := StringToKey(v.id, "key1", "key1", 0)
		k2, err2 := StringToKey(v.id, "key2", "key2", 0)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		got, err := CF2(k1, k2, "a", "b")
		if err != nil || !bytes.Equal(got.Expose(), unhex(t, v.expect)) {
			t.Errorf("%v: %x %v, expect %s", v.id, got.Expose(), err, v.expect)
		}
	}
}

// The type 23 cases of MIT krb5's decryption and checksum tests; RFC 4757 has
// none.
func TestRC4Vectors(t *testing.T) {
	for _, v := range []struct {
		plain       string
		usage       uint32
		key, cipher string
	}{
		{"", 0, "F81FEC39255F5784E850C4377C88BD85", "02C1EB15586144122EC717763DD348BF00434DDC6585954C"},
		{"1", 1, "67D1300D281223867F9647FF48721273", "6156E0CC04E0A0874F9FDA008F498A7ADBBC80B70B14DDDBC0"},
		{"9 bytesss", 2, "3E40AB6093695281B3AC1A9304224D98", "0F9AD121D99D4A09448E4F1F718C4F5CBE6096262C66F29DF232A87C9F98755D55"},
		{"13 bytes byte", 3, "4BA2FBF0379FAED87A254D3B353D5A7E", "612C57568B17A70352BAE8CF26FB9459A6F3353CD35FD439DB3107CBEC765D326DFC04C1DD"},
		{"30 bytes bytes bytes bytes byt", 4, "68F263DB3FCE15D031C9EAB02D67107A", "95F9047C3AD75891C2E9B04B16566DC8B6EB9CE4231AFB2542EF87A7B5A0F260A99F0460508DE0CECC632D07C354124E46C5D2234EB8"},
	} {
		got, err := mustKey(t, RC4, v.key).Decrypt(nil, unhex(t, v.cipher), v.usage)
		if err != nil || string(got) != v.plain {
			t.Errorf("usage %d: %q %v, expect %q", v.usage, got, err, v.plain)
		}
	}
	got, err := mustKey(t, RC4, "68F263DB3FCE15D031C9EAB02D67107A").
		Encrypt(nil, []byte("30 bytes bytes bytes bytes byt"), 4, bytes.NewReader(unhex(t, "37245E73A45FBF72")))
	if err != nil || hex.EncodeToString(got) != "95f9047c3ad75891c2e9b04b16566dc8b6eb9ce4231afb2542ef87a7b5a0f260a99f0460508de0cecc632d07c354124e46c5d2234eb8" {
		t.Errorf("encrypt: %x %v", got, err)
	}
	sum := mustKey(t, RC4, "F7D3A155AF5E238A0B7A871A96BA2AB2").Checksum(nil, []byte("seventeen eighteen nineteen twenty"), 6)
	if hex.EncodeToString(sum) != "eb38cc97e2230f59da4117dc5859d7ec" {
		t.Errorf("checksum %x", sum)
	}
}

// MIT krb5's checksum and pseudo-random function tests for types 17 and 18.
func TestSHA1Vectors(t *testing.T) {
	for _, v := range []struct {
		id        ID
		key, text string
		usage     uint32
		expect    string
	}{
		{17, "9062430C8CDA3388922E6D6A509F5B7A", "eight nine ten eleven twelve thirteen", 3, "01A4B088D45628F6946614E3"},
		{18, "B1AE4CD8462AFF1677053CC9279AAC30B796FB81CE21474DD3DDBCFEA4EC76D7", "fourteen", 4, "E08739E3279E2903EC8E3836"},
	} {
		if got := mustKey(t, v.id, v.key).Checksum(nil, []byte(v.text), v.usage); !bytes.Equal(got, unhex(t, v.expect)) {
			t.Errorf("%v: checksum %x, expect %s", v.id, got, v.expect)
		}
	}
	for _, v := range []struct {
		id           ID
		password, in string
		expect       string
	}{
		{17, "key1", "\x01a", "77B39A37A868920F2A51F9DD150C5717"},
		{18, "key2", "\x02b", "0D674DD0F9A6806525A4D92E828BD15A"},
	} {
		k, err := StringToKey(v.id, v.password, v.password, 0)
		if err != nil || !bytes.Equal(k.PRF([]byte(v.in)), unhex(t, v.expect)) {
			t.Errorf("%v: PRF %x %v, expect %s", v.id, k.PRF([]byte(v.in)), err, v.expect)
		}
	}
}
