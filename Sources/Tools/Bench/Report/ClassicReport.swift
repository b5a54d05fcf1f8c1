/// The text of the benchmarks that came before: a line for each worker, which is a connection here,
/// and the total, for writes and then for reads.
public struct ClassicReport {
  private let result: BenchResult

  public init(_ result: BenchResult) { self.result = result }

  public var text: String {
    let measured = result.measured
    return part("write", measured.clientWrites, "set")
      + part("read", measured.clientReads, "read")
  }

  private func part(_ name: String, _ clients: [ClientTotals], _ verb: String) -> String {
    let seconds = result.seconds
    func rate(_ count: UInt64) -> String {
      let rate = seconds > 0 ? Double(count) / seconds : 0
      return FixedText.fixed(rate, places: 1).replacing(",", with: "")
    }
    let busy = clients.filter { $0.count > 0 }
    guard !busy.isEmpty else { return "" }
    let lines = busy.map { client in
      "func \(name)- avg: \(GoDuration.text(client.mean)), min: \(GoDuration.text(client.minimum)), "
        + "max: \(GoDuration.text(client.maximum)), QPS: \(rate(client.count))\n"
    }
    let count = busy.reduce(0) { $0 + $1.count }
    return lines.joined() + "Total QPS= \(rate(count)), \(verb) \(count) keys\n"
  }
}
