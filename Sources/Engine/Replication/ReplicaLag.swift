/// How far somebody is behind the end of the log. What is not known is nil, never 0.
public struct ReplicaLag: Hashable, Sendable {
  public var records: UInt64?
  /// Of frames.
  public var bytes: UInt64?
  /// How long the oldest record that is missing has been there.
  public var seconds: Double?

  public init(records: UInt64? = nil, bytes: UInt64? = nil, seconds: Double? = nil) {
    self.records = records
    self.bytes = bytes
    self.seconds = seconds
  }

  public static let unknown = ReplicaLag()
  public static let none = ReplicaLag(records: 0, bytes: 0, seconds: 0)
}
