package ldapsrv

import (
	"strconv"
	"strings"

	"skyrealm/domain/dit"
	"skyrealm/ldapsrv/ldapmsg"
)

// functionality is the level that the domain claims: Windows Server 2016
// ([MS-ADTS] §6.1.4.2).
const functionality = "7"

// capabilities that hold ([MS-ADTS] §3.1.1.3.4.3): Active Directory, of the
// versions that functionality covers. Not among them is 1.2.840.113556.1.4.1791,
// signing and sealing after an NTLM bind.
var capabilities = []string{
	"1.2.840.113556.1.4.800",  // LDAP_CAP_ACTIVE_DIRECTORY_OID
	"1.2.840.113556.1.4.1670", // …_V51
	"1.2.840.113556.1.4.1935", // …_V60
	"1.2.840.113556.1.4.2080", // …_V61_R2
	"1.2.840.113556.1.4.2237", // …_W8
}

// rootDSE answers the one search that needs no bind: by it clients learn how
// they may bind, and tools whom they talk to (RFC 4512 §5.1, [MS-ADTS]
// §3.1.1.3.2).
func (s *session) rootDSE(id int32, q *ldapmsg.SearchRequest) {
	e := s.srv.rootDSE()
	if q.Filter.Match(e, nil) {
		s.srv.Counters.Entries.Add(1)
		s.out = ldapmsg.AppendEntry(s.out, id, e, &q.Attrs, q.TypesOnly, nil)
	}
}

func (s *Server) rootDSE() *dit.Entry {
	info := &s.Replica.Info
	base := info.BaseDN().String()
	config := "CN=Configuration," + base
	schema := "CN=Schema," + config
	server := "CN=" + info.DC + ",CN=Servers,CN=Default-First-Site-Name,CN=Sites," + config
	usn, _ := s.Replica.USN()

	b := new(dit.Builder)
	set := func(name string, values ...string) { b.SetString(dit.Attr(name), values...) }
	set("objectClass", "top")
	set("currentTime", s.Now().UTC().Format("20060102150405.0Z"))
	set("subschemaSubentry", "CN=Aggregate,"+schema)
	set("dsServiceName", "CN=NTDS Settings,"+server)
	// DIVERGES: AD lists the configuration and schema partitions here too. Their
	// names are given below, as clients make objectCategory and site names of
	// them, but nothing is held under them, and to say so spares a browser of
	// the tree two dead branches.
	set("namingContexts", base)
	set("defaultNamingContext", base)
	set("rootDomainNamingContext", base)
	set("configurationNamingContext", config)
	set("schemaNamingContext", schema)
	set("supportedControl", supportedControls...)
	// DIVERGES: AD says 2 as well, whose binds are refused here.
	set("supportedLDAPVersion", "3")
	set("supportedCapabilities", capabilities...)
	extensions := []string{ldapmsg.WhoAmI}
	if s.TLS != nil {
		extensions = append(extensions, ldapmsg.StartTLS)
	}
	set("supportedExtension", extensions...)
	set("highestCommittedUSN", strconv.FormatInt(int64(usn), 10))
	set("dNSHostName", info.DCName())
	set("ldapServiceName", info.DNSName+":"+strings.ToLower(info.DC)+"$@"+info.Realm())
	set("serverName", server)
	set("isSynchronized", "TRUE")
	set("isGlobalCatalogReady", "FALSE") // nothing listens on 3268
	set("domainFunctionality", functionality)
	set("forestFunctionality", functionality)
	set("domainControllerFunctionality", functionality)
	// DIVERGES: AD names no vendor. Whoever looks into a trace wants to know
	// that this is not Microsoft's.
	set("vendorName", "Skyrealm")
	set("vendorVersion", s.Version)
	return b.Entry(dit.DN{}, nil)
}
