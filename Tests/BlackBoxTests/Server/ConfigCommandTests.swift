import Foundation
import Testing

@Suite("kv config") struct ConfigCommandTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func write(_ name: String, _ json: String) throws -> String {
    let path = directory.path(name)
    try Data(json.utf8).write(to: URL(fileURLWithPath: path))
    return path
  }

  @Test("check prints what a configuration holds")
  func summary() async throws {
    let path = try write(
      "four.json",
      """
      {"version":1,"hash":"fnv1-64","write_quorum":1,"read_quorum":1,"shards":[
        {"name":"place","index":1,"leader":"127.0.0.3:8080"},
        {"name":"name","index":0,"leader":"127.0.0.2:8080",
         "replicas":["127.0.0.22:8080","127.0.0.23:8080"]}]}
      """)
    let outcome = try await Executable.kv.run(["config", "check", path], in: directory)
    #expect(outcome.status == 0 && outcome.errors == "")
    #expect(
      outcome.output == """
        \(path): 2 shards, 4 nodes, fnv1-64, write quorum 1, read quorum 1
          0  name   leader 127.0.0.2:8080  replicas 127.0.0.22:8080, 127.0.0.23:8080
          1  place  leader 127.0.0.3:8080  no replica

        """)
  }

  @Test("check takes a leaderless configuration, and one on a pipe")
  func others() async throws {
    let path = try write("leaderless.json", #"{"mode":"leaderless","nodes":["a:1","b:1"]}"#)
    for arguments in [["config", "check", path], ["config", "check", "/dev/stdin"]] {
      let outcome = try await Executable.kv.run(
        arguments, input: try Data(contentsOf: URL(fileURLWithPath: path)), in: directory)
      #expect(outcome.status == 0, "\(outcome.errors)")
      #expect(outcome.output.contains("leaderless\n  0  default  nodes  a:1, b:1\n"))
    }
  }

  @Test("check names file and field of what is wrong, exit 1")
  func wrong() async throws {
    let path = try write(
      "wrong.json",
      #"{"shards":[{"name":"a","index":0,"leader":"a:1"},{"name":"b","index":0,"leader":"b:1"}]}"#)
    let outcome = try await Executable.kv.run(["config", "check", path], in: directory)
    #expect(outcome.status == 1 && outcome.output == "")
    #expect(outcome.errors == "error: \(path): shards[1].index: duplicate shard index: 0\n")
  }

  @Test("diff says which keys move, and which nodes are others")
  func difference() async throws {
    let two = try write(
      "2.json",
      #"{"shards":[{"name":"a","index":0,"leader":"a:1"},{"name":"b","index":1,"leader":"b:1"}]}"#)
    let four = try write(
      "4.json",
      """
      {"write_quorum":1,"shards":[{"name":"a","index":0,"leader":"a:1","replicas":["a:2"]},
        {"name":"b","index":1,"leader":"b:1"},{"name":"c","index":2,"leader":"c:1"},
        {"name":"d","index":3,"leader":"d:1"}]}
      """)
    let outcome = try await Executable.kv.run(["config", "diff", two, four], in: directory)
    #expect(outcome.status == 0 && outcome.errors == "")
    #expect(
      outcome.output == """
        \(two) -> \(four): 2 -> 4 shards
        50 % of the keys move
          a -> c  25 %
          b -> d  25 %
        nodes:
          a  a:1    ->  a:1, a:2
          c  (new)  ->  c:1
          d  (new)  ->  d:1

        """)
    let none = try await Executable.kv.run(["config", "diff", two, two], in: directory)
    #expect(none.output == "\(two) -> \(two): 2 -> 2 shards\nno key moves\n")
  }
}
