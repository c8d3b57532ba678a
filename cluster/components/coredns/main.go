// CoreDNS with the plugins of cluster/manifests/Corefile and no others: the
// whole set would pull in the clients of every cloud provider.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	// A plugin that is imported but not named here is unknown to the Corefile;
	// the order is the order in which a query passes through them.
	dnsserver.Directives = []string{"bind", "errors", "ready", "template", "kubernetes"}
	coremain.Run()
}
