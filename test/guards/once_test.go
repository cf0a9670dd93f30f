package guards

// What is carried out once, by all replicas together.
func init() {
	guards = append(guards,
		guard{"set once", "store/once.go", `tag.RowsAffected() != int64(len(o.Hashes))`, "TestOnce"},
		guard{"set once, another since", "domain/password.go", `!cred.NTHashOf(password).Equal(rec.Secrets.Current.NT)`, "TestChangePassword"},
	)
}
