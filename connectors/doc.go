// Package connectors is the list of the connectors that are built in. Files: all.go.
package connectors
