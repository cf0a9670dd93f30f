package domain

import "strings"

// hostServices are the services that every computer offers under its HOST/ name,
// without having a name for each: AD's attribute sPNMappings, as every forest has
// it ([MS-ADTS] §6.1.1.2.4.1.3).
var hostServices = func() map[string]bool {
	m := map[string]bool{}
	for _, s := range strings.Split("alerter,appmgmt,cisvc,clipsrv,browser,dhcp,dnscache,replicator,eventlog,eventsystem,policyagent,"+
		"oakley,dmserver,dns,mcsvc,fax,msiserver,ias,messenger,netlogon,netman,netdde,netddedsm,nmagent,plugplay,protectedstorage,"+
		"rasman,rpclocator,rpc,rpcss,remoteaccess,rsvp,samss,scardsvr,scesrv,seclogon,scm,dcom,cifs,spooler,snmp,schedule,tapisrv,"+
		"trksvr,trkwks,ups,time,wins,www,http,w3svc,iisadmin,msdtc", ",") {
		m[s] = true
	}
	return m
}()

// ByHostAlias finds the account whose HOST/ name a service's name stands for,
// whoever has the name itself.
func (r *Replica) ByHostAlias(spn string) *Object {
	service, host, ok := strings.Cut(spn, "/")
	if !ok || !hostServices[strings.ToLower(service)] {
		return nil
	}
	return r.BySPN("host/" + host)
}

// ByService finds the account that a service's ticket is for: the holder of its
// name, or else of the HOST/ name that it stands for.
func (r *Replica) ByService(spn string) *Object {
	if o := r.BySPN(spn); o != nil {
		return o
	}
	return r.ByHostAlias(spn)
}
