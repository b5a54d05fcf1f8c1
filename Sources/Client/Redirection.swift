/// Where a 307 sends the client: the same request, on the right node.
package struct Redirection: Equatable {
  package var address: NodeAddress
  package var target: String

  /// What is said of an answer that is none.
  package static let isUnusable = "a redirection without a usable Location"

  /// - Parameter answer: a 307 of the node at `address`.
  /// - Returns: nil where it does not say where.
  package init?(_ answer: KVResponse, from address: NodeAddress) {
    guard let location = answer.headers.first(name: "Location") else { return nil }
    self.init(location: location, from: address)
  }

  /// - Parameters:
  ///   - location: `http://host:port/path?query`, or `/path?query` on the same node.
  ///   - address: of the node that answered.
  /// - Returns: nil for any other location.
  init?(location: String, from address: NodeAddress) {
    if location.hasPrefix("/") {
      guard !location.hasPrefix("//") else { return nil }
      self.init(address: address, target: location)
      return
    }
    guard let scheme = location.firstRange(of: "://") else { return nil }
    let rest = location[scheme.upperBound...]
    let slash = rest.firstIndex(of: "/") ?? rest.endIndex
    do {
      let address = try NodeAddress(parsing: String(location[..<slash]))
      self.init(address: address, target: slash == rest.endIndex ? "/" : String(rest[slash...]))
    } catch {
      return nil
    }
  }

  private init(address: NodeAddress, target: String) {
    self.address = address
    self.target = target
  }
}
