package proxy

import (
	"errors"
	"strconv"
	"strings"
)

const (
	// pseudonym is how the gateway calls itself in Via (RFC 9110 section 7.6.3).
	pseudonym = "gatehouse"
	// maxPasses is how often a request may have come by. Several gateways in a row are legitimate.
	maxPasses = 8
)

var errLoop = errors.New("proxy: Via names this gateway too often")

// inLoop reports whether the lines of a Via field name us more than maxPasses times.
func inLoop(lines []string) bool {
	passes := 0
	for _, line := range lines {
		for rest, more := line, true; more; {
			var element string
			element, rest, more = strings.Cut(rest, ",")
			_, by, _ := strings.Cut(strings.Trim(element, " \t"), " ")
			by, _, _ = strings.Cut(strings.TrimLeft(by, " \t"), " ")
			if strings.EqualFold(strings.TrimRight(by, "\t"), pseudonym) {
				passes++
			}
		}
	}
	return passes > maxPasses
}

// appendVia returns the value of Via with our own entry, for a message received with the given version of HTTP.
func appendVia(lines []string, major, minor int) string {
	own := "1.1 " + pseudonym // a constant: the common case allocates nothing
	if major != 1 || minor != 1 {
		own = strconv.Itoa(major) + "." + strconv.Itoa(minor) + " " + pseudonym
	}
	if len(lines) == 0 {
		return own
	}
	return joinLines(lines) + ", " + own
}
