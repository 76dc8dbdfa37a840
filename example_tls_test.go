package gateway_test

import (
	"crypto/tls"
	"fmt"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
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

// A target that is verified by a company's own authorities and asks for a certificate; all files are read again when they change.
func ExampleNewAuthorities() {
	authorities, err := gateway.NewAuthorities(gateway.AuthoritiesConfig{Files: []string{"/etc/gateway/targets.pem"}})
	if err != nil {
		fmt.Println("no authorities")
		return
	}
	own, err := gateway.NewCertificates(gateway.CertificatesConfig{Files: []gateway.CertificateFiles{
		{Cert: "/etc/gateway/client.crt", Key: "/etc/gateway/client.key"},
	}})
	if err != nil {
		fmt.Println("no certificate")
		return
	}
	users, err := gateway.NewUpstream(gateway.UpstreamConfig{
		Name: "users", Targets: []balancer.Target{{URL: "https://users.internal:8443"}},
		Authorities: authorities, TLS: &tls.Config{GetClientCertificate: own.GetClientCertificate},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close()
	// Output:
	// no authorities
}
