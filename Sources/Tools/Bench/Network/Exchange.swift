/// A request and what is remembered of it until its answer is there.
struct Exchange {
  enum Kind: UInt8 {
    case read
    case update
    case insert
    case scan
    /// The two requests of a read-modify-write.
    case modifyRead
    case modifyWrite

    var isWrite: Bool { self == .update || self == .insert || self == .modifyWrite }
    var isJudged: Bool { self == .read || self == .modifyRead }
  }

  var kind: Kind
  /// Whether it began behind the warm-up.
  var isMeasured: Bool
  var client: Int32
  /// How many keys a scan asks for.
  var limit: UInt32 = 0
  var key: UInt64
  /// When the request was to start; of a closed loop when it did. Nanoseconds of the monotonic clock.
  var intended: UInt64
  /// When the whole operation was to start.
  var began: UInt64
  /// When its bytes were given to the connection; 0 before that.
  var sent: UInt64 = 0
  var mark = VersionBoard.Mark()
}
