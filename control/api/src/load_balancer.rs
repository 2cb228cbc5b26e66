//! Names by which the parts of Xebec agree on load balancers. Called by the controller that gives out addresses; the
//! agents that announce them (`agent/announce`) know the same, held against these by a test.

/// The class of load balancers (`spec.loadBalancerClass`) that is Xebec's; a Service without one is Xebec's, too.
pub const CLASS: &str = "xebec.dev/load-balancer";
/// The condition in a Service's status that says whose its addresses are: Xebec's. Agents announce only such.
pub const CONDITION: &str = "network.xebec.dev/AddressesAllocated";
