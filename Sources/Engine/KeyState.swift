/// What a key has, as far as conditions ask.
package struct KeyState: Equatable, Sendable {
  package var version: UInt64
  /// Milliseconds since 1970 from which on the key is absent; `never` for those that stay.
  package var expiry: UInt64

  package static let never = UInt64.max

  package init(version: UInt64, expiry: UInt64? = nil) {
    self.version = version
    self.expiry = expiry ?? Self.never
  }

  /// Whether the key is absent for who looks at that time, removed or not.
  package func isHidden(at milliseconds: UInt64) -> Bool { expiry <= milliseconds }
}
