//go:build race

package harness

// raceEnabled: the service is built with the race detector where the tests are.
const raceEnabled = true
