// Package conf holds what the measured servers and the load generator are configured with, as templates that are part of
// the program.
package conf
