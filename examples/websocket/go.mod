module github.com/gatehouse-go/gateway/examples/websocket

go 1.25.0

require (
	github.com/coder/websocket v1.8.15
	github.com/gatehouse-go/gateway v0.0.0
	github.com/stretchr/testify v1.12.1
)

require (
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/time v0.15.0 // indirect
)
