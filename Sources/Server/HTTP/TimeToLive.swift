/// How long a value is to live, as `ttl` says it in a query, a form or JSON: in whole seconds.
package struct TimeToLive: Equatable, Sendable {
  /// A hundred years.
  package static let secondsMax: UInt64 = 3_155_760_000
  package static let rule = "ttl must be a whole number of seconds from 1 to \(secondsMax)"

  /// Nil: for ever.
  package let seconds: UInt64?

  package static let unbounded = TimeToLive(seconds: nil)

  private init(seconds: UInt64?) { self.seconds = seconds }

  /// - Parameter text: digits; nil where no `ttl` was given.
  /// - Returns: nil when it is not such a number.
  package init?(_ text: [UInt8]?) {
    guard let text else {
      self = .unbounded
      return
    }
    guard let seconds = text.withUnsafeBytes({ Self.parse($0) }) else { return nil }
    self.init(seconds: seconds)
  }

  /// The seconds that the digits stand for; nil when they are not a `ttl`.
  package static func parse(_ digits: UnsafeRawBufferPointer) -> UInt64? {
    guard let seconds = DecimalText.parse(digits), (1...secondsMax).contains(seconds) else {
      return nil
    }
    return seconds
  }

  /// When the value expires; milliseconds since 1970, as the time now.
  package func expiry(now: @autoclosure () -> UInt64) -> UInt64? {
    seconds.map { Self.expiry(of: $0, now: now()) }
  }

  /// The same; as far ahead as there is time where a broken clock has come near its end.
  @inline(__always)
  static func expiry(of seconds: UInt64, now: UInt64) -> UInt64 {
    let (expiry, overflowed) = now.addingReportingOverflow(seconds * 1_000)
    return overflowed ? .max : expiry
  }
}

extension LoopState {
  func badTimeToLive() -> Answer { badOption(TimeToLive.rule) }

  func expiry(_ lifetime: TimeToLive) -> UInt64? { lifetime.expiry(now: store.nowMilliseconds) }
}
