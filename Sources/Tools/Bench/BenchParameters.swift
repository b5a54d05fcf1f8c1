import Client

/// Everything that a run is defined by.
public struct BenchParameters: Sendable {
  public enum Distribution: String, Sendable, CaseIterable {
    case uniform
    case zipfian
    case latest
  }

  /// Who answers reads.
  public enum ReadSource: String, Sendable, CaseIterable {
    case leader
    case replicas
    case any
  }

  /// Which node of a cluster a request is sent to.
  public enum Route: String, Sendable, CaseIterable {
    /// One of its key's shard.
    case direct
    /// A target, which hands on what is another's.
    case entry
  }

  /// Whether the keys are stored before the run.
  public enum Load: String, Sendable, CaseIterable {
    /// Where reads are asked for and some of the keys are absent.
    case auto
    case always
    case never
  }

  public var targets: [NodeAddress]
  /// `a` to `f` of YCSB; nil for a write ratio.
  public var workload: String?
  public var mix: WorkloadMix
  public var keys: UInt64 = 100_000
  public var keyPrefix = "key:"
  public var distribution = Distribution.uniform
  public var valueBytes = 100
  /// Clients, each of which has a connection to every node that it needs.
  public var connections = 64
  /// Requests that a client has under way at most.
  public var pipeline = 1
  public var threads = 1
  /// The rate of an open loop; nil for a closed one.
  public var operationsPerSecond: Double?
  public var arrivals = ArrivalSchedule.Spacing.uniform
  /// Measured, behind the warm-up; nil where the number of operations ends the run.
  public var durationSeconds: Double?
  public var operations: UInt64?
  public var warmupSeconds = 1.0
  public var readFrom = ReadSource.leader
  public var route = Route.direct
  /// Members that must have a write before it is answered; nil for what the node is configured to.
  public var writeQuorum: Int?
  /// Members that are asked for a read; nil for what the node is configured to.
  public var readQuorum: Int?
  public var checksStaleness = false
  public var load = Load.auto
  public var timeoutSeconds = 10.0
  public var seed: UInt64 = 1

  public init(targets: [NodeAddress], mix: WorkloadMix) {
    self.targets = targets
    self.mix = mix
  }

  public static let durationSecondsMax = 86_400.0
  public static let keysMax: UInt64 = 1 << 30
  public static let connectionsMax = 60_000
  public static let pipelineMax = 1_024
  public static let threadsMax = 256
  public static let valueBytesMax = 16 << 20
  public static let rateMax = 10_000_000.0
  /// What requests that wait to be sent may take together.
  static let outputBytesMax = 1 << 30

  /// - Throws: `BenchError.unusable`, which names the flag.
  public func validate() throws(BenchError) {
    func check(_ holds: Bool, _ text: String) throws(BenchError) {
      if !holds { throw .unusable(text) }
    }
    try check(!targets.isEmpty, "--target is missing")
    try check(Set(targets).count == targets.count, "a --target is given twice")
    try check(keys >= 1 && keys <= Self.keysMax, "--keys must be from 1 to \(Self.keysMax)")
    try check(
      !keyPrefix.isEmpty && keyPrefix.utf8.count <= 256 && keyPrefix.utf8.allSatisfy(Self.isPlain),
      "--key-prefix must be 1 to 256 letters, digits and any of - . _ ~ :")
    try check(
      (0...Self.valueBytesMax).contains(valueBytes),
      "--value-size must be from 0 to \(Self.valueBytesMax)")
    try check(
      (1...Self.connectionsMax).contains(connections),
      "--connections must be from 1 to \(Self.connectionsMax)")
    try check(
      (1...Self.pipelineMax).contains(pipeline), "--pipeline must be from 1 to \(Self.pipelineMax)")
    try check(
      (1...Self.threadsMax).contains(threads), "--threads must be from 1 to \(Self.threadsMax)")
    try check(threads <= connections, "--threads must not be above --connections")
    try check(
      connections * pipeline <= Self.outputBytesMax / (valueBytes + 512),
      "--connections times --pipeline times --value-size is above 1 GiB")
    if let rate = operationsPerSecond {
      try check(
        rate > 0 && rate <= Self.rateMax, "--qps must be above 0 and at most \(Int(Self.rateMax))")
    }
    if let seconds = durationSeconds {
      try check(
        seconds > 0 && seconds <= Self.durationSecondsMax,
        "--duration must be above 0 and at most \(Int(Self.durationSecondsMax)) seconds")
    }
    try check(writeQuorum ?? 1 >= 1, "--w must be a whole number from 1")
    try check(readQuorum ?? 1 >= 1, "--r must be a whole number from 1")
    try check(operations != 0, "--requests must be above 0")
    try check(
      warmupSeconds >= 0 && warmupSeconds <= Self.durationSecondsMax,
      "--warmup must be from 0 to \(Int(Self.durationSecondsMax)) seconds")
    try check(
      timeoutSeconds > 0 && timeoutSeconds <= 3_600,
      "--timeout must be above 0 and at most 3600 seconds")
  }

  /// What needs no escaping in a target, in JSON or in a shell.
  private static func isPlain(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
      UInt8(ascii: "_"), UInt8(ascii: "~"), UInt8(ascii: ":"):
      true
    default: false
    }
  }
}
