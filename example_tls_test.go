package gateway_test

import (
	"fmt"

	"github.com/gatehouse-go/gateway"
)

// Files that are not there are named, all of them.
func ExampleNewCertificates() {
	_, err := gateway.NewCertificates(gateway.CertificatesConfig{Files: []gateway.CertificateFiles{
		{Cert: "example.org.pem", Key: "example.org.key"},
	}})
	fmt.Println(err)
	// Output:
	// gateway: CertificatesConfig.Files[0]: Cert "example.org.pem", Key "example.org.key": open example.org.pem: no such file or directory
}

// A server whose certificates are read again when they change, and whose clients need one, too.
func ExampleNewServerTLS() {
	certificates, err := gateway.NewCertificates(gateway.CertificatesConfig{Files: []gateway.CertificateFiles{
		{Cert: "/etc/gateway/tls.crt", Key: "/etc/gateway/tls.key"},
	}})
	if err != nil {
		fmt.Println("no certificate")
		return
	}
	config, err := gateway.NewServerTLS(gateway.ServerTLSConfig{Certificates: certificates, ClientCAs: []string{"/etc/gateway/clients.pem"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := gateway.NewServer(":8443", nil)
	server.TLSConfig = config
	// Output:
	// no certificate
}
