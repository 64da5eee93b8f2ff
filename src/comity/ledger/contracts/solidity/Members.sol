// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {System, GOVERNANCE} from "./System.sol";

/// Who belongs to the consortium. Genesis writes the founders; afterwards only a passed vote admits.
contract Members is System {
    struct Member {
        string name;
        address org;
        address validator;
        string endpoint;
    }

    uint256 public constant MEMBERS_MAX = 256;
    uint256 public constant NAME_BYTES_MAX = 32;
    uint256 public constant ENDPOINT_BYTES_MAX = 256;

    event Admitted(address indexed org, address validator, string name, string endpoint);

    mapping(address org => Member) private _members;
    /// In the order of admission; nobody is ever taken off.
    address[] private _orgs;
    mapping(address validator => address org) private _orgOfValidator;
    mapping(bytes32 nameHash => address org) private _orgOfName;
    uint256 public validatorCount;

    /// The founders. Genesis calls it once, from the zero address.
    function initialize(Member[] calldata founders) external {
        require(count() == 0, "the members were already initialised");
        for (uint256 i = 0; i < founders.length; i++) _admit(founders[i]);
    }

    function admit(string calldata name, address org, address validator, string calldata endpoint) external {
        require(msg.sender == GOVERNANCE, "only a passed vote admits a member");
        _admit(Member(name, org, validator, endpoint));
    }

    function count() public view returns (uint256) {
        return _orgs.length;
    }

    function isMember(address org) external view returns (bool) {
        return _members[org].org != address(0);
    }

    function isValidator(address validator) external view returns (bool) {
        return _orgOfValidator[validator] != address(0);
    }

    function validatorOf(address org) external view returns (address) {
        return _members[org].validator;
    }

    function nameOf(address org) external view returns (string memory) {
        return _members[org].name;
    }

    function endpointOf(address org) external view returns (string memory) {
        return _members[org].endpoint;
    }

    function orgAt(uint256 position) external view returns (address) {
        return _orgs[position];
    }

    function orgOf(string calldata name) external view returns (address) {
        return _orgOfName[keccak256(bytes(name))];
    }

    function _admit(Member memory member) private {
        bytes32 nameHash = keccak256(bytes(member.name));
        require(count() < MEMBERS_MAX, "there is no room for another member");
        require(member.org != address(0), "a member has an address");
        require(bytes(member.name).length > 0 && bytes(member.name).length <= NAME_BYTES_MAX, "a name has 1 to 32 bytes");
        require(bytes(member.endpoint).length <= ENDPOINT_BYTES_MAX, "an endpoint has at most 256 bytes");
        require(_members[member.org].org == address(0), "this address is a member already");
        require(_orgOfName[nameHash] == address(0), "this name is taken");
        if (member.validator != address(0)) {
            require(_orgOfValidator[member.validator] == address(0), "this validator belongs to another member");
            _orgOfValidator[member.validator] = member.org;
            validatorCount++;
        }
        _orgOfName[nameHash] = member.org;
        _members[member.org] = member;
        _orgs.push(member.org);
        emit Admitted(member.org, member.validator, member.name, member.endpoint);
    }
}
