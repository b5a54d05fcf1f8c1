/// What a thread is to do.
struct WorkerPlan: Sendable {
  /// Keys that a scan asks for at most, as in YCSB.
  static let scanMax: UInt64 = 100

  let number: Int
  let parameters: BenchParameters
  let targets: TargetMap
  /// For each node of `targets`.
  let addresses: [SocketAddress]
  let texts: [RequestText]
  /// Made once for all threads, because that can take a while.
  let keyChoice: KeyChoice
  let clients: Int
  /// Its part of the operations; nil without a bound.
  let operations: UInt64?
  /// Its part of the rate.
  let operationsPerSecond: Double?
  let arrivalPhase: Double

  var warmupNanoseconds: UInt64 { UInt64(parameters.warmupSeconds * 1e9) }
  var durationNanoseconds: UInt64? { parameters.durationSeconds.map { UInt64($0 * 1e9) } }
  var timeoutNanoseconds: UInt64 { UInt64(parameters.timeoutSeconds * 1e9) }
  /// A run without an end in time ends when nothing has answered for so long.
  var giveUpNanoseconds: UInt64 { 2 * timeoutNanoseconds }

  /// Divides a run among threads.
  static func plans(
    _ parameters: BenchParameters, _ targets: TargetMap
  ) throws(BenchError) -> [WorkerPlan] {
    var addresses: [SocketAddress] = []
    for node in targets.nodes { addresses.append(try SocketAddress(node)) }
    let value = RequestText.value(bytes: parameters.valueBytes, seed: parameters.seed)
    let texts = targets.nodes.map {
      RequestText(
        to: $0, keyPrefix: parameters.keyPrefix, value: value, isCluster: targets.isCluster,
        writeQuorum: parameters.writeQuorum, readQuorum: parameters.readQuorum)
    }
    let choice = KeyChoice(parameters.distribution, keys: parameters.keys)
    let threads = parameters.threads
    return (0..<threads).map { number in
      let clients = part(of: UInt64(parameters.connections), number, of: threads)
      return WorkerPlan(
        number: number, parameters: parameters, targets: targets, addresses: addresses,
        texts: texts, keyChoice: choice, clients: Int(clients),
        operations: parameters.operations.map { part(of: $0, number, of: threads) },
        operationsPerSecond: parameters.operationsPerSecond.map { $0 / Double(threads) },
        arrivalPhase: Double(number) / Double(threads))
    }
  }

  /// Parts differ by one at most, and add up.
  static func part(of count: UInt64, _ number: Int, of parts: Int) -> UInt64 {
    let (quotient, remainder) = count.quotientAndRemainder(dividingBy: UInt64(parts))
    return quotient + (UInt64(number) < remainder ? 1 : 0)
  }
}
